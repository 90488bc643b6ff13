"""Mistakes in the audio front end: resampling, and the three spectrograms."""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr

from mlx_cosyvoice.audio import fbank, log_mel, mel
from parity.faults.base import Mistakes, at

RESAMPLED = at("audio_features.resampled_16k", "audio_features.resampled_24k")
LOG_MEL, FBANK, PROMPT_MEL = (at(f"audio_features.{name}") for name in ("log_mel", "fbank", "prompt_mel"))
WHISPERS, PROMPTS = LOG_MEL.of(log_mel.log_mel_spectrogram), PROMPT_MEL.of(mel.mel_spectrogram)

#: What makes a Hann window of the povey window.
HANN = (np.maximum(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399), 1e-30) ** 0.15)[:, None]


def _narrowed(resample: Any, wave: np.ndarray, source: int, target: int, quality: str) -> np.ndarray:
    narrow = round(0.7 * target)
    return resample(resample(wave, source, narrow), narrow, target)[: round(len(wave) * target / source)]


def _interpolated(resample: Any, wave: np.ndarray, source: int, target: int, quality: str) -> np.ndarray:
    moments = np.arange(round(len(wave) * target / source)) * (source / target)
    return np.interp(moments, np.arange(len(wave)), wave)


def _htk_filters(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    """`librosa.filters.mel(htk=True, norm=None)`."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (fmin, fmax))
    edges = 700 * (10 ** (np.linspace(low, high, n_mels + 2) / 2595) - 1)
    points = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    left, center, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rows = np.minimum((points - left) / (center - left), (right - points) / (right - center))
    return np.maximum(rows, 0).astype(np.float32)


MISTAKES: Mistakes = {
    "resampler-roll-off: The resampler's low-pass filter cuts off at 0.7 of the band that is left.": RESAMPLED.wraps(
        soxr, "resample", _narrowed
    ),
    "resampler-linear: Audio is resampled by linear interpolation, without a low-pass filter.": RESAMPLED.wraps(
        soxr, "resample", _interpolated
    ),
    "whisper-htk-mel: Whisper's log mel is taken with HTK's mel scale in place of Slaney's.": LOG_MEL.patches(
        log_mel, "slaney_filters", _htk_filters
    ),
    "prompt-htk-mel: The prompt's mel is taken with HTK's mel scale in place of Slaney's.": PROMPT_MEL.patches(
        mel, "slaney_filters", _htk_filters
    ),
    "prompt-mel-fmax: The prompt's mel reaches up to Nyquist in place of 8000 Hz.": PROMPTS.edits(
        " if mel.fmax is None else mel.fmax", ""
    ),
    "whisper-magnitude: Whisper's log mel is made of magnitudes in place of powers.": WHISPERS.edits(
        "mx.square(spectrum.real) + mx.square(spectrum.imag)", "mx.abs(spectrum)"
    ),
    "prompt-mel-power: The prompt's mel is made of powers in place of magnitudes.": PROMPTS.edits("mx.sqrt(", "("),
    "prompt-mel-double-padding: The prompt is padded by hand and then once more by a centered STFT.": PROMPTS.edits(
        "as_samples(wave, width + 1)", "reflect(as_samples(wave, width + 1), mel.n_fft // 2)"
    ),
    "prompt-mel-centered: The prompt's frames are centered as in `torch.stft`, padded by 960 and not by 720.": (
        PROMPTS.edits("width + 1), width)", "width + 1), mel.n_fft // 2)")
    ),
    "whisper-natural-log: Whisper's log mel uses the natural logarithm in place of the decimal one.": WHISPERS.edits(
        "mx.log10(", "mx.log("
    ),
    "whisper-last-frame: Whisper's log mel keeps the last frame, which Whisper drops.": WHISPERS.edits("[:-1]", ""),
    "fbank-hann: Kaldi's filter bank is taken with a plain Hann window in place of the povey window.": FBANK.wraps(
        fbank, "_transform", lambda original: [part * HANN for part in original()]
    ),
    "fbank-pre-emphasis: Kaldi's filter bank lacks the pre-emphasis.": FBANK.patches(fbank, "PREEMPHASIS", 0.0),
    # the mean over time takes a factor out again wherever the floor does not cut; the floor does cut in silence
    "fbank-int16-scale: Samples are scaled to 16-bit integers before Kaldi's filter bank.": FBANK.edits(
        "as_samples(wave, WINDOW)", "as_samples(wave * 32768, WINDOW)", of=fbank.kaldi_fbank
    ),
    "fbank-mean-kept: The mean over time is not taken off the filter bank.": FBANK.edits(
        "return centered - centered.mean(axis=1, keepdims=True)", "return features", of=fbank.mean_normalize
    ),
}
