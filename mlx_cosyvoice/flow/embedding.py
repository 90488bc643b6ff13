"""Input projection and relative positions of the flow's encoder, and the time embedding of its estimator."""

from __future__ import annotations

import math
from functools import lru_cache

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.flow.sinusoids import rates
from mlx_cosyvoice.nn import Identity, Module, Sequential, SiLU


@lru_cache(maxsize=16)
def positions(width: int, reach: int) -> mx.array:
    """The sinusoids of the relative positions `reach` - 1 down to 1 - `reach`: [1, 2 reach - 1, width] float32.

    That is float32 whatever the weights are, as the angles grow to thousands of radians. Pieces of one utterance, and
    one utterance after the other, read from the same table.
    """
    position = mx.arange(reach - 1, -reach, -1, dtype=mx.float32)
    angle = position[:, None] * rates(np.arange(0, width, 2), -math.log(10000) / width)
    table = mx.stack([mx.sin(angle), mx.cos(angle)], axis=-1).reshape(1, -1, width)
    mx.eval(table)  # another thread may read it
    return table


class EspnetRelPositionalEncoding(Module):
    """`encoder.embed.pos_enc`: scales the features and makes the sinusoids of all relative positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def __call__(self, x: mx.array, keys: int | None = None) -> tuple[mx.array, mx.array]:
        """x [1, T, width], the last of S `keys` (None: all) -> (scaled x, pos_emb [1, S+T-1, width]).

        The positions are S-1 down to -(T-1).
        """
        length = x.shape[1]
        reach = keys or length
        table = positions(self.width, 1 << (reach - 1).bit_length())
        middle = table.shape[1] // 2
        return x * math.sqrt(self.width), table[:, middle + 1 - reach : middle + length].astype(x.dtype)


class LinearNoSubsampling(Module):
    """`encoder.embed` and `encoder.up_embed`: a normalized projection, then the positions."""

    def __init__(self, in_size: int, out_size: int) -> None:
        super().__init__()
        self.out = Sequential(nn.Linear(in_size, out_size), nn.LayerNorm(out_size, eps=1e-5), Identity())
        self.pos_enc = EspnetRelPositionalEncoding(out_size)

    def __call__(self, x: mx.array, keys: int | None = None) -> tuple[mx.array, mx.array]:
        """x [1, T, in_size], the last of S `keys` -> (features [1, T, out_size], pos_emb [1, S+T-1, out_size])."""
        return self.pos_enc(self.out(x), keys)


class TimestepEmbedding(Module):
    """`estimator.time_mlp`. [B, in_size] -> [B, out_size]."""

    def __init__(self, in_size: int, out_size: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_size, out_size)
        self.act = SiLU()
        self.linear_2 = nn.Linear(out_size, out_size)

    def __call__(self, x: mx.array) -> mx.array:
        return self.linear_2(self.act(self.linear_1(x)))
