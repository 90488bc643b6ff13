"""Attention to keys and values that lie in several blocks. Heads and batch entries are one axis, N."""

from __future__ import annotations

import mlx.core as mx

from mlx_cosyvoice.nn import functional
from mlx_cosyvoice.nn.functional import Block


def folded_heads(x: mx.array, heads: int) -> mx.array:
    """[B, T, heads * D] -> [B * heads, T, D]."""
    batch, length, width = x.shape
    return x.reshape(batch, length, heads, -1).transpose(0, 2, 1, 3).reshape(-1, length, width // heads)


def unfolded_heads(x: mx.array, heads: int) -> mx.array:
    """[B * heads, T, D] -> [B, T, heads * D]."""
    _, length, size = x.shape
    return x.reshape(-1, heads, length, size).transpose(0, 2, 1, 3).reshape(-1, length, heads * size)


def attention(q: mx.array, blocks: list[Block], *, scale: float, bias: mx.array | None = None) -> mx.array:
    """`functional.attention` to keys and values [N, places, D]; q [N, T, D], bias [N, T, all places]."""
    folded = [(keys[None], values[None]) for keys, values in blocks]
    return functional.attention(q[None], folded, scale=scale, mask=None if bias is None else bias[None])[0]
