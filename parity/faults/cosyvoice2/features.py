"""Mistakes in the audio front end: resampling, and the three spectrograms."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import soxr

from mlx_cosyvoice import audio
from mlx_cosyvoice.audio import fbank, load, log_mel, mel
from parity.faults.base import Catalogue, Context, wrapped
from parity.pair import Pair

CATALOGUE = Catalogue("audio_features")

RESAMPLED = CATALOGUE.at("audio_features.resampled_16k", "audio_features.resampled_24k")
LOG_MEL, FBANK, PROMPT_MEL = (CATALOGUE.at(f"audio_features.{name}") for name in ("log_mel", "fbank", "prompt_mel"))


def _narrowed(wave: np.ndarray, source: int, target: int, quality: str) -> np.ndarray:
    narrow = round(0.7 * target)
    return soxr.resample(soxr.resample(wave, source, narrow), narrow, target)[: round(len(wave) * target / source)]


def _interpolated(wave: np.ndarray, source: int, target: int, quality: str) -> np.ndarray:
    moments = np.arange(round(len(wave) * target / source)) * (source / target)
    return np.interp(moments, np.arange(len(wave)), wave)


RESAMPLED.calling(
    "resampler-roll-off",
    "The resampler's low-pass filter cuts off at 0.7 of the band that is left.",
    load,
    "soxr",
    resample=_narrowed,
)
RESAMPLED.calling(
    "resampler-linear",
    "Audio is resampled by linear interpolation, without a low-pass filter.",
    load,
    "soxr",
    resample=_interpolated,
)


def _htk_filters(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    """`librosa.filters.mel(htk=True, norm=None)`."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (fmin, fmax))
    edges = 700 * (10 ** (np.linspace(low, high, n_mels + 2) / 2595) - 1)
    points = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    left, center, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rows = np.minimum((points - left) / (center - left), (right - points) / (right - center))
    return np.maximum(rows, 0).astype(np.float32)


LOG_MEL.patching(
    "whisper-htk-mel",
    "Whisper's log mel is taken with HTK's mel scale in place of Slaney's.",
    log_mel,
    "slaney_filters",
    _htk_filters,
)
PROMPT_MEL.patching(
    "prompt-htk-mel",
    "The prompt's mel is taken with HTK's mel scale in place of Slaney's.",
    mel,
    "slaney_filters",
    _htk_filters,
)


@PROMPT_MEL.wrapping(mel, "slaney_filters")
def prompt_mel_fmax(original: Any, rate: int, n_fft: int, bands: int, low: float, high: float) -> np.ndarray:
    """The prompt's mel reaches up to Nyquist in place of 8000 Hz."""
    return original(rate, n_fft, bands, low, rate / 2)


LOG_MEL.calling(
    "whisper-magnitude", "Whisper's log mel is made of magnitudes in place of powers.", log_mel, "mx", square=mx.abs
)
PROMPT_MEL.calling(
    "prompt-mel-power", "The prompt's mel is made of powers in place of magnitudes.", mel, "mx", sqrt=lambda x: x
)


@PROMPT_MEL.switching
def prompt_mel_double_padding(pair: Pair) -> Context:
    """The prompt is padded by hand and then once more by a centered STFT."""
    half = pair.model.family.mel.n_fft // 2
    return wrapped(mel, "reflect", lambda original, x, width: original(original(x, width), half))


@PROMPT_MEL.switching
def prompt_mel_centered(pair: Pair) -> Context:
    """The prompt's frames are centered as in `torch.stft`, padded by 960 and not by 720."""
    half = pair.model.family.mel.n_fft // 2
    return wrapped(mel, "reflect", lambda original, x, width: original(x, half))


LOG_MEL.calling(
    "whisper-natural-log",
    "Whisper's log mel uses the natural logarithm in place of the decimal one.",
    log_mel,
    "mx",
    log10=mx.log,
)


@LOG_MEL.wrapping(log_mel, "frames")
def whisper_last_frame(original: Any, samples: mx.array, length: int, hop: int) -> mx.array:
    """Whisper's log mel keeps the last frame, which Whisper drops."""
    found = original(samples, length, hop)
    return mx.concatenate([found, found[-1:]])


@FBANK.wrapping(fbank, "_transform")
def fbank_hann(original: Any) -> tuple[np.ndarray, np.ndarray]:
    """Kaldi's filter bank is taken with a plain Hann window in place of the povey window."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(fbank.WINDOW) / (fbank.WINDOW - 1))
    cosine, sine = original()
    change = (np.maximum(window, 1e-30) ** 0.15)[:, None]
    return cosine * change, sine * change


FBANK.patching("fbank-pre-emphasis", "Kaldi's filter bank lacks the pre-emphasis.", fbank, "PREEMPHASIS", 0.0)


@FBANK.wrapping(audio, "kaldi_fbank")
def fbank_int16_scale(original: Any, wave: np.ndarray) -> mx.array:
    """Samples are scaled to 16-bit integers before Kaldi's filter bank."""
    # the mean over time takes a factor out again wherever the floor does not cut; the floor does cut in silence
    return original(wave * 32768)


FBANK.patching(
    "fbank-mean-kept",
    "The mean over time is not taken off the filter bank.",
    audio,
    "mean_normalize",
    lambda features: features,
)
