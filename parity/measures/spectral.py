"""Log-spectral distance: how differently two waveforms are colored, whatever their phases."""

from __future__ import annotations

import math

import numpy as np

from parity.measures._arrays import finite, matched

#: Amplitudes below this (-100 dB of full scale) are silence; their ratio says nothing.
SILENCE = 1e-5


def log_spectral_distance(actual: np.ndarray, expected: np.ndarray, n_fft: int = 1024, hop: int = 256) -> float:
    """Root mean square over bins, averaged over frames, of the difference of two log spectra, in dB.

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
