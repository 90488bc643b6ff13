"""The two kinds of self-attention of the flow: with relative positions (encoder) and without (estimator)."""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.flow.heads import merge_heads, split_heads
from mlx_cosyvoice.nn import Identity, Module, functional
from mlx_cosyvoice.nn.cache import Cache, attended


def rel_shift(scores: mx.array) -> mx.array:
    """Scores by relative position to scores by key, the last T of S keys being the queries' own.

    [B, heads, T, S+T-1], position S-1 first -> [B, heads, T, S] with out[i, j] = in[i, T-1-i+j].
    """
    *batch, length, positions = scores.shape
    # One more column makes every row start one place later once the rows are cut anew.
    rolled = mx.pad(scores, [(0, 0), (0, 0), (0, 0), (1, 0)]).reshape(*batch, positions + 1, length)
    return rolled[..., 1:, :].reshape(*batch, length, positions)[..., : positions - length + 1]


class RelPositionMultiHeadedAttention(Module):
    """`encoders.N.self_attn`: attention with Transformer-XL relative positions."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = mx.zeros((heads, self.head_dim))
        self.pos_bias_v = mx.zeros((heads, self.head_dim))

    def __call__(self, x: mx.array, mask: mx.array | None, pos_emb: mx.array, cache: Cache | None = None) -> mx.array:
        """One piece of a sequence.

        Args:
            x: [1, T, width].
            mask: [T, T] bool, True where a query may see a key; None for all. With a cache always None.
            pos_emb: [1, S+T-1, width], the positions S-1 down to -(T-1) of the S keys that the cache holds, T of them
                new; S is T without a cache.
            cache: the keys before.

        Returns:
            [1, T, width].
        """
        q = split_heads(self.linear_q(x), self.heads)
        k = split_heads(self.linear_k(x), self.heads)
        v = split_heads(self.linear_v(x), self.heads)
        p = split_heads(self.linear_pos(pos_emb), self.heads)
        scale = 1 / math.sqrt(self.head_dim)
        blocks = attended(k, v, cache)
        # The positions' share of the scores is what fused attention calls an additive mask.
        bias = rel_shift((q + self.pos_bias_v[:, None]) * scale @ p.swapaxes(-1, -2))
        if mask is not None:
            bias = mx.where(mask, bias, mx.finfo(bias.dtype).min)
        q = q + self.pos_bias_u[:, None]
        return self.linear_out(merge_heads(functional.attention(q, blocks, scale=scale, mask=bias)))


class Attention(Module):
    """`...attn1`, diffusers' `Attention`: no bias on the projections in, bias on the one out."""

    def __init__(self, dim: int, heads: int, head_dim: int, *, bias: bool = False) -> None:
        super().__init__()
        self.heads, self.scale = heads, 1 / math.sqrt(head_dim)
        self.to_q = nn.Linear(dim, heads * head_dim, bias=bias)
        self.to_k = nn.Linear(dim, heads * head_dim, bias=bias)
        self.to_v = nn.Linear(dim, heads * head_dim, bias=bias)
        self.to_out = [nn.Linear(heads * head_dim, dim), Identity()]

    def __call__(self, x: mx.array, mask: mx.array | None, cache: Cache | None = None) -> mx.array:
        """x [B, T, dim], mask [T, T] bool or None (full; with a cache always None) -> [B, T, dim]."""
        q, k, v = (split_heads(project(x), self.heads) for project in (self.to_q, self.to_k, self.to_v))
        return self.out(q, k, v, mask, cache)

    def out(self, q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None, cache: Cache | None) -> mx.array:
        """What queries find among keys and values, [B, heads, T, head_dim] each: [B, T, dim]."""
        x = merge_heads(functional.attention(q, attended(k, v, cache), scale=self.scale, mask=mask))
        for module in self.to_out:
            x = module(x)
        return x
