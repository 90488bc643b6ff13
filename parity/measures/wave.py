"""Waveforms: the signal-to-noise ratio, before and after they are aligned, and how differently they are colored."""

from __future__ import annotations

import math

import numpy as np

from parity.measures._arrays import finite, matched, rms

#: Alignment looks no further than one mel frame at 24 kHz: a longer delay is a fault and not a matter of padding.
MAX_LAG = 480

#: Amplitudes below this (-100 dB of full scale) are silence; their ratio says nothing.
SILENCE = 1e-5


def snr_db(actual: np.ndarray, expected: np.ndarray) -> float:
    """20 log10 of |expected| / |actual - expected| in the root mean square.

    Returns:
        dB; infinity for equal input, minus infinity where anything is not finite or only `expected` is silent.

    Raises:
        ValueError: the shapes differ or are empty.
    """
    a, b = matched(actual, expected, "wave")
    if not finite(a, b):
        return -math.inf
    scale = max(float(np.abs(a).max()), float(np.abs(b).max())) or 1.0
    noise, signal = rms(a / scale - b / scale), rms(b / scale)
    if not noise:
        return math.inf
    return 20 * (math.log10(signal) - math.log10(noise)) if signal else -math.inf


def find_lag(actual: np.ndarray, expected: np.ndarray, max_lag: int = MAX_LAG) -> int:
    """How many samples `actual` is late: the shift of the largest cross-correlation within +-max_lag.

    Args:
        actual: [samples], finite.
        expected: [samples], finite; the lengths may differ.
        max_lag: bound of the search, in samples.

    Raises:
        ValueError: an argument that is empty or not one-dimensional, or a negative bound.
    """
    a, b = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    if a.ndim != 1 or b.ndim != 1 or not a.size or not b.size:
        raise ValueError(f"wave: must be [samples], not {list(a.shape)} and {list(b.shape)}")
    if max_lag < 0:
        raise ValueError(f"max_lag must not be negative, got {max_lag}")
    lags = np.arange(-min(max_lag, b.size - 1), min(max_lag, a.size - 1) + 1)
    size = a.size + b.size
    # correlation[lag] = sum over n of a[n + lag] b[n]; negative lags lie at the end of the circular result
    correlation = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)[lags]
    # the transform rounds: among shifts that are as good as the best one, the smallest is meant
    rounding = 1e-12 * float(np.linalg.norm(a) * np.linalg.norm(b))
    best = lags[correlation >= correlation.max() - rounding]
    return int(best[np.argmin(np.abs(best))])


def aligned_snr(actual: np.ndarray, expected: np.ndarray, max_lag: int = MAX_LAG) -> tuple[float, int]:
    """The SNR of the part that both waveforms cover once `actual` is shifted by whole samples.

    Args:
        actual: [samples].
        expected: [samples]; the lengths may differ.
        max_lag: bound of the shift, in samples.

    Returns:
        dB and the lag in samples, positive where `actual` is late. Never worse than unaligned; minus infinity and 0
        where anything is not finite.

    Raises:
        ValueError: as for `find_lag`.
    """
    if not finite(np.asarray(actual), np.asarray(expected)):
        return -math.inf, 0
    found = {lag: snr_db(*_overlap(actual, expected, lag)) for lag in (0, find_lag(actual, expected, max_lag))}
    lag = max(found, key=lambda lag: (found[lag], -abs(lag)))
    return found[lag], lag


def _overlap(a: np.ndarray, b: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = a[max(lag, 0) :], b[max(-lag, 0) :]
    length = min(len(a), len(b))
    return a[:length], b[:length]


def log_spectral_distance(actual: np.ndarray, expected: np.ndarray, n_fft: int = 1024, hop: int = 256) -> float:
    """How differently two waveforms are colored, whatever their phases.

    That is the root mean square over bins, averaged over frames, of the difference of two log spectra.

    Args:
        actual: samples on the last axis, in [-1, 1]; all other axes are further signals.
        expected: the same shape.
        n_fft: samples in a Hann-windowed frame; shorter signals are padded with zeros.
        hop: samples between frames.

    Returns:
        dB, 0 for equal input; infinity where anything is not finite. Symmetric.

    Raises:
        ValueError: the shapes differ or are empty.
    """
    a, b = matched(actual, expected, "wave")
    if not finite(a, b):
        return math.inf
    distance = _log_spectrum(a, n_fft, hop) - _log_spectrum(b, n_fft, hop)
    return float(np.sqrt(np.square(distance).mean(axis=-1)).mean())


def _log_spectrum(x: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """[..., samples] to [..., frames, bins] in dB; a sine of amplitude 1 reads 0 dB."""
    x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, max(0, n_fft - x.shape[-1]))])
    frames = np.lib.stride_tricks.sliding_window_view(x, n_fft, axis=-1)[..., ::hop, :]
    window = np.hanning(n_fft + 1)[:-1]
    magnitude = np.abs(np.fft.rfft(frames * window)) / (window.sum() / 2)
    return 20 * np.log10(np.maximum(magnitude, SILENCE))
