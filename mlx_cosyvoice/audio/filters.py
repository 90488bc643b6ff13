"""Mel filter banks, computed in float64 and kept as float32: Slaney's (librosa's default) and Kaldi's."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# Slaney's mel scale is linear up to 1000 Hz (3 mels for 200 Hz) and logarithmic above (27 mels for a factor 6.4).
_SLANEY_HZ_PER_MEL = 200.0 / 3.0
_SLANEY_BREAK_HZ = 1000.0
_SLANEY_BREAK_MEL = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL
_SLANEY_LOG_STEP = np.log(6.4) / 27.0


def _slaney_mel(hz: float) -> float:
    if hz < _SLANEY_BREAK_HZ:
        return hz / _SLANEY_HZ_PER_MEL
    return float(_SLANEY_BREAK_MEL + np.log(hz / _SLANEY_BREAK_HZ) / _SLANEY_LOG_STEP)


def _slaney_hz(mel: np.ndarray) -> np.ndarray:
    above = _SLANEY_BREAK_HZ * np.exp(_SLANEY_LOG_STEP * np.maximum(mel - _SLANEY_BREAK_MEL, 0.0))
    return np.where(mel < _SLANEY_BREAK_MEL, mel * _SLANEY_HZ_PER_MEL, above)


def _triangles(edges: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Triangles [len(edges) - 2, len(points)]: triangle i rises from edge i, is 1 at i + 1, is 0 again at i + 2."""
    left, center, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(0.0, np.minimum((points - left) / (center - left), (right - points) / (right - center)))


def _frozen(filters: np.ndarray) -> np.ndarray:
    filters = filters.astype(np.float32)
    filters.setflags(write=False)  # every caller shares the cached array
    return filters


@lru_cache
def slaney_filters(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    """The filters of `librosa.filters.mel` (Slaney scale, area norm): [n_mels, n_fft // 2 + 1], read-only.

    The triangles are straight in Hz; each is scaled to the same area. Whisper's `mel_filters.npz` holds these too.
    """
    mels = np.linspace(_slaney_mel(fmin), _slaney_mel(fmax), n_mels + 2)
    edges = _slaney_hz(mels)
    points = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    return _frozen(_triangles(edges, points) * (2.0 / (edges[2:] - edges[:-2]))[:, None])


@lru_cache
def kaldi_filters(sample_rate: int, n_fft: int, n_mels: int, fmin: float) -> np.ndarray:
    """The filters of Kaldi's `MelBanks` up to the Nyquist frequency: [n_mels, n_fft // 2 + 1], read-only.

    The triangles are straight in mels (1127 ln(1 + f / 700)) and not scaled. Kaldi leaves the Nyquist bin out, so its
    column is zero.
    """

    def mel(hz: np.ndarray | float) -> np.ndarray:
        return 1127.0 * np.log1p(np.asarray(hz) / 700.0)

    edges = np.linspace(mel(fmin), mel(sample_rate / 2), n_mels + 2)
    bins = np.arange(n_fft // 2) * (sample_rate / n_fft)
    return _frozen(np.pad(_triangles(edges, mel(bins)), ((0, 0), (0, 1))))
