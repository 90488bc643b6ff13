"""Linear interpolation along time, rounded as `torch.nn.functional.interpolate` rounds it (align_corners=False)."""

from __future__ import annotations

import mlx.core as mx
import numpy as np


def sample_positions(step: float, begin: int, end: int) -> np.ndarray:
    """Where samples `begin` to `end` lie between frames that are 1 / `step` samples long: [end - begin] float32."""
    exact = np.float64(np.float32(step)) * (np.arange(begin, end) + 0.5) - 0.5
    return np.maximum(exact.astype(np.float32), 0)


def interpolate(x: mx.array, position: np.ndarray, first: int = 0) -> mx.array:
    """x at fractional positions.

    Args:
        x: [B, T, C] float32, the frames from `first` on.
        position: [N] float32, in frames; 0 is the middle of frame 0. Behind the last frame that one goes on.
        first: which frame x starts with.

    Returns:
        [B, N, C]. The weighted sum is rounded once, as by the fused multiply-add that PyTorch has.
    """
    left = position.astype(np.int32)
    weight = (position - left.astype(np.float32))[:, None]
    last = x.shape[1] - 1
    near, far = (x[:, mx.array(np.minimum(frame - first, last))] for frame in (left, left + 1))
    return fused_multiply_add(near, mx.array(1 - weight), far * mx.array(weight))


def fused_multiply_add(a: mx.array, b: mx.array, c: mx.array) -> mx.array:
    """a * b + c in float32 as if rounded once, for a and b well below float32's largest value (Dekker, 1971)."""

    def halves(x: mx.array) -> tuple[mx.array, mx.array]:
        shifted = x * 4097.0  # 2^12 + 1: keeps the upper 12 of 24 bits
        upper = shifted - (shifted - x)
        return upper, x - upper

    (a_upper, a_lower), (b_upper, b_lower) = halves(a), halves(b)
    product, total = a * b, a * b + c
    lost_in_product = (a_upper * b_upper - product + a_upper * b_lower + a_lower * b_upper) + a_lower * b_lower
    added = total - product
    lost_in_sum = (product - (total - added)) + (c - added)
    return total + (lost_in_sum + lost_in_product)
