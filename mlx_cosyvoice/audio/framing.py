"""What the three feature extractors share: checked input, reflection at the ends, overlapping frames."""

from __future__ import annotations

import mlx.core as mx
import numpy as np


def as_samples(wave: np.ndarray | mx.array, shortest: int) -> mx.array:
    """`wave` [samples] as float32.

    Raises:
        ValueError: not one-dimensional, or fewer than `shortest` samples (not one whole frame).
    """
    if wave.ndim != 1:
        raise ValueError(f"wave must have one dimension [samples], not the shape {list(wave.shape)}")
    if wave.shape[0] < shortest:
        raise ValueError(f"wave has {wave.shape[0]} samples, and this feature needs at least {shortest}")
    return mx.array(wave).astype(mx.float32)


def reflect(samples: mx.array, width: int) -> mx.array:
    """`width` samples mirrored at each end; the end samples themselves are not repeated (PyTorch's "reflect")."""
    last = samples.shape[0] - 1
    position = mx.abs(mx.arange(-width, last + width + 1))  # mirrored at the start ...
    return samples[last - mx.abs(last - position)]  # ... and at the end


def frames(samples: mx.array, length: int, hop: int) -> mx.array:
    """Overlapping windows [T, length]; samples after the last whole window are left out."""
    count = 1 + (samples.shape[0] - length) // hop
    return mx.as_strided(samples, (count, length), (hop, 1))


def hann(length: int) -> mx.array:
    """The periodic Hann window, as `torch.hann_window` gives it."""
    return mx.array((0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length)).astype(np.float32))
