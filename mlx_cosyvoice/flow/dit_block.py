"""The blocks of the DiT: attention and feed-forward between norms whose scale and shift the time gives."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.config import DiTConfig
from mlx_cosyvoice.flow.attention import Attention
from mlx_cosyvoice.flow.heads import split_heads
from mlx_cosyvoice.flow.rotary import apply_rotary_pos_emb
from mlx_cosyvoice.nn import GELUTanh, Identity, Module, Sequential, SiLU
from mlx_cosyvoice.nn.cache import Cache, constant

EPS = 1e-6


class AdaLayerNormZero(Module):
    """`...attn_norm`: a norm whose scale and shift the time gives, and what else the block needs of the time."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.silu = SiLU()
        self.linear = nn.Linear(dim, 6 * dim)
        self.norm = nn.LayerNorm(dim, eps=EPS, affine=False)

    def __call__(self, x: mx.array, time: mx.array, cache: Cache | None = None) -> tuple[mx.array, ...]:
        """x [B, T, dim], time [B, dim] -> x for the attention; its gate, and shift, scale, gate of the feed-forward.

        The last four are [B, 1, dim].
        """
        made = constant(lambda: self.linear(self.silu(time))[:, None], cache)
        shift, scale, *rest = mx.split(made, 6, axis=-1)
        return self.norm(x) * (1 + scale) + shift, *rest


class AdaLayerNormZero_Final(Module):  # noqa: N801
    """`estimator.norm_out`: here the scale comes before the shift."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.silu = SiLU()
        self.linear = nn.Linear(dim, 2 * dim)
        self.norm = nn.LayerNorm(dim, eps=EPS, affine=False)

    def __call__(self, x: mx.array, time: mx.array, cache: Cache | None = None) -> mx.array:
        """x [B, T, dim], time [B, dim] -> [B, T, dim]."""
        scale, shift = mx.split(constant(lambda: self.linear(self.silu(time))[:, None], cache), 2, axis=-1)
        return self.norm(x) * (1 + scale) + shift


class RotaryAttention(Attention):
    """`...attn`: all four projections have a bias, and positions turn queries and keys."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__(dim, heads, head_dim, bias=True)

    def __call__(  # type: ignore[override]
        self, x: mx.array, mask: mx.array | None, turns: mx.array, cache: Cache | None = None
    ) -> mx.array:
        """One piece of a sequence.

        Args:
            x: [B, T, dim].
            mask: [T, T] bool, True where a query may see a key; None for all. With a cache always None.
            turns: [1, T, head_dim] of `RotaryEmbedding`.
            cache: the keys before, turned already.

        Returns:
            [B, T, dim].
        """
        q, k = (apply_rotary_pos_emb(project(x), turns) for project in (self.to_q, self.to_k))
        q, k, v = (split_heads(each, self.heads) for each in (q, k, self.to_v(x)))
        return self.out(q, k, v, mask, cache)


class FeedForward(Module):
    """`...ff`, with the tanh approximation of GELU."""

    def __init__(self, dim: int, mult: int) -> None:
        super().__init__()
        self.ff = Sequential(Sequential(nn.Linear(dim, mult * dim), GELUTanh()), Identity(), nn.Linear(mult * dim, dim))

    def __call__(self, x: mx.array) -> mx.array:
        return self.ff(x)


class DiTBlock(Module):
    """`estimator.transformer_blocks.N`. [B, T, dim] in and out."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.attn_norm = AdaLayerNormZero(config.dim)
        self.attn = RotaryAttention(config.dim, config.heads, config.dim_head)
        self.ff_norm = nn.LayerNorm(config.dim, eps=EPS, affine=False)
        self.ff = FeedForward(config.dim, config.ff_mult)

    def __call__(
        self, x: mx.array, time: mx.array, mask: mx.array | None, turns: mx.array, cache: Cache | None = None
    ) -> mx.array:
        """time [B, dim]; the rest as for `attn`."""
        normed, gate, ff_shift, ff_scale, ff_gate = self.attn_norm(x, time, cache)
        x = x + gate * self.attn(normed, mask, turns, cache)
        return x + ff_gate * self.ff(self.ff_norm(x) * (1 + ff_scale) + ff_shift)
