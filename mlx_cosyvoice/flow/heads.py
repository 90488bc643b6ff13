"""The heads of attention, as an axis of their own and side by side."""

from __future__ import annotations

import mlx.core as mx


def split_heads(x: mx.array, heads: int) -> mx.array:
    """[B, T, heads * D] -> [B, heads, T, D]."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def merge_heads(x: mx.array) -> mx.array:
    """[B, heads, T, D] -> [B, T, heads * D]."""
    x = x.transpose(0, 2, 1, 3)
    return x.reshape(*x.shape[:2], -1)
