"""Attention to keys and values that lie in several blocks. Heads and batch entries are one axis, N."""

from __future__ import annotations

import mlx.core as mx

from mlx_cosyvoice.nn import host_attention
from mlx_cosyvoice.nn.functional import worth_a_visit

Blocks = list[tuple[mx.array, mx.array]]


def folded_heads(x: mx.array, heads: int) -> mx.array:
    """[B, T, heads * D] -> [B * heads, T, D]."""
    batch, length, width = x.shape
    return x.reshape(batch, length, heads, -1).transpose(0, 2, 1, 3).reshape(-1, length, width // heads)


def unfolded_heads(x: mx.array, heads: int) -> mx.array:
    """[B * heads, T, D] -> [B, T, heads * D]."""
    _, length, size = x.shape
    return x.reshape(-1, heads, length, size).transpose(0, 2, 1, 3).reshape(-1, length, heads * size)


def attention(q: mx.array, blocks: Blocks, *, scale: float, bias: mx.array | None = None) -> mx.array:
    """softmax(scale q k^T + bias) v over the keys and values of all blocks, in the form that suits the device.

    Args:
        q: [N, T, D].
        blocks: (keys, values), [N, places, D] each; they may be stored in another dtype.
        scale: of the scores.
        bias: [N, T, all places], added to the scores; None for nothing.

    Returns:
        [N, T, D] in the dtype of q.
    """
    scores = q.shape[0] * q.shape[1] * sum(keys.shape[1] for keys, _ in blocks)
    form = in_blocks if worth_a_visit(scores, host_attention.FEW_SCORES) else fused
    return form(q, blocks, scale=scale, bias=bias)


def fused(q: mx.array, blocks: Blocks, *, scale: float, bias: mx.array | None) -> mx.array:
    """By MLX's own kernel, which needs all keys in one array."""
    k, v = (mx.concatenate([block[which] for block in blocks], axis=1).astype(q.dtype) for which in (0, 1))
    mask = None if bias is None else bias[None]
    return mx.fast.scaled_dot_product_attention(q[None], k[None], v[None], scale=scale, mask=mask)[0]


def in_blocks(q: mx.array, blocks: Blocks, *, scale: float, bias: mx.array | None) -> mx.array:
    """By the CPU's threads, in float32: each puts together the keys of the heads that it is at."""
    stored = [(keys[None], values[None]) for keys, values in blocks]
    mask = None if bias is None else bias[None]
    return host_attention.attention(q[None], stored, scale=scale, mask=mask)[0]
