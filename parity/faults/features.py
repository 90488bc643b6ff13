"""Mistakes in the audio front end: resampling, and the three spectrograms."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import mlx.core as mx
import numpy as np
import soxr

from mlx_cosyvoice import audio
from mlx_cosyvoice.audio import fbank, load, log_mel, mel
from parity.faults.base import Catalogue, calling, patched
from parity.pair import Pair

Context = AbstractContextManager[Any]

CATALOGUE = Catalogue("audio_features")
fault = CATALOGUE.add

RESAMPLED = ("audio_features.resampled_16k", "audio_features.resampled_24k")
LOG_MEL, FBANK, PROMPT_MEL = (f"audio_features.{name}" for name in ("log_mel", "fbank", "prompt_mel"))


@fault("resampler-roll-off", "The resampler's low-pass filter cuts off at 0.7 of the band that is left.", *RESAMPLED)
def resampler_roll_off(pair: Pair) -> Context:
    def resample(wave: np.ndarray, source: int, target: int, quality: str) -> np.ndarray:
        narrow = round(0.7 * target)
        return soxr.resample(soxr.resample(wave, source, narrow), narrow, target)[: round(len(wave) * target / source)]

    return calling(load, "soxr", resample=resample)


@fault("resampler-linear", "Audio is resampled by linear interpolation, without a low-pass filter.", *RESAMPLED)
def resampler_linear(pair: Pair) -> Context:
    def resample(wave: np.ndarray, source: int, target: int, quality: str) -> np.ndarray:
        moments = np.arange(round(len(wave) * target / source)) * (source / target)
        return np.interp(moments, np.arange(len(wave)), wave)

    return calling(load, "soxr", resample=resample)


def _htk_filters(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    """`librosa.filters.mel(htk=True, norm=None)`."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (fmin, fmax))
    edges = 700 * (10 ** (np.linspace(low, high, n_mels + 2) / 2595) - 1)
    points = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    left, center, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rows = np.minimum((points - left) / (center - left), (right - points) / (right - center))
    return np.maximum(rows, 0).astype(np.float32)


@fault("whisper-htk-mel", "Whisper's log mel is taken with HTK's mel scale in place of Slaney's.", LOG_MEL)
def whisper_htk_mel(pair: Pair) -> Context:
    return patched(log_mel, "slaney_filters", _htk_filters)


@fault("prompt-htk-mel", "The prompt's mel is taken with HTK's mel scale in place of Slaney's.", PROMPT_MEL)
def prompt_htk_mel(pair: Pair) -> Context:
    return patched(mel, "slaney_filters", _htk_filters)


@fault("prompt-mel-fmax", "The prompt's mel reaches up to Nyquist in place of 8000 Hz.", PROMPT_MEL)
def prompt_mel_fmax(pair: Pair) -> Context:
    original = mel.slaney_filters
    return patched(
        mel, "slaney_filters", lambda rate, n_fft, bands, low, high: original(rate, n_fft, bands, low, rate / 2)
    )


@fault("whisper-magnitude", "Whisper's log mel is made of magnitudes in place of powers.", LOG_MEL)
def whisper_magnitude(pair: Pair) -> Context:
    return calling(log_mel, "mx", square=mx.abs)


@fault("prompt-mel-power", "The prompt's mel is made of powers in place of magnitudes.", PROMPT_MEL)
def prompt_mel_power(pair: Pair) -> Context:
    return calling(mel, "mx", sqrt=lambda x: x)


@fault("prompt-mel-double-padding", "The prompt is padded by hand and then once more by a centered STFT.", PROMPT_MEL)
def prompt_mel_double_padding(pair: Pair) -> Context:
    original = mel.reflect
    return patched(mel, "reflect", lambda x, width: original(original(x, width), pair.model.family.mel.n_fft // 2))


@fault(
    "prompt-mel-centered",
    "The prompt's frames are centered as in `torch.stft`, padded by 960 and not by 720.",
    PROMPT_MEL,
)
def prompt_mel_centred(pair: Pair) -> Context:
    original = mel.reflect
    return patched(mel, "reflect", lambda x, width: original(x, pair.model.family.mel.n_fft // 2))


@fault("whisper-natural-log", "Whisper's log mel uses the natural logarithm in place of the decimal one.", LOG_MEL)
def whisper_natural_log(pair: Pair) -> Context:
    return calling(log_mel, "mx", log10=mx.log)


@fault("whisper-last-frame", "Whisper's log mel keeps the last frame, which Whisper drops.", LOG_MEL)
def whisper_last_frame(pair: Pair) -> Context:
    original = log_mel.frames

    def one_more(samples: mx.array, length: int, hop: int) -> mx.array:
        found = original(samples, length, hop)
        return mx.concatenate([found, found[-1:]])

    return patched(log_mel, "frames", one_more)


@fault("fbank-hann", "Kaldi's filter bank is taken with a plain Hann window in place of the povey window.", FBANK)
def fbank_hann(pair: Pair) -> Context:
    original = fbank._transform

    def hann_transform() -> tuple[np.ndarray, np.ndarray]:
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(fbank.WINDOW) / (fbank.WINDOW - 1))
        cosine, sine = original()
        change = (np.maximum(window, 1e-30) ** 0.15)[:, None]
        return cosine * change, sine * change

    return patched(fbank, "_transform", hann_transform)


@fault("fbank-pre-emphasis", "Kaldi's filter bank lacks the pre-emphasis.", FBANK)
def fbank_pre_emphasis(pair: Pair) -> Context:
    return patched(fbank, "PREEMPHASIS", 0.0)


@fault("fbank-int16-scale", "Samples are scaled to 16-bit integers before Kaldi's filter bank.", FBANK)
def fbank_int16_scale(pair: Pair) -> Context:
    # the mean over time takes a factor out again wherever the floor does not cut; the floor does cut in silence
    original = audio.kaldi_fbank
    return patched(audio, "kaldi_fbank", lambda wave: original(wave * 32768))


@fault("fbank-mean-kept", "The mean over time is not taken off the filter bank.", FBANK)
def fbank_mean_kept(pair: Pair) -> Context:
    return patched(audio, "mean_normalize", lambda features: features)
