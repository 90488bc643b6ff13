"""Positions in the attention of the DiT: pairs of channels are turned by them."""

from __future__ import annotations

import mlx.core as mx

from mlx_cosyvoice.nn import Module


class RotaryEmbedding(Module):
    """`estimator.rotary_embed`: the turn of every pair of channels at a position.

    `inv_freq` [head_dim / 2] is a tensor of the checkpoint, 10000^(-2i / head_dim). It must stay float32, since
    positions multiply its error.
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.inv_freq = mx.zeros((head_dim // 2,))

    def __call__(self, position: mx.array) -> mx.array:
        """position [1, T] -> [1, T, head_dim] float32: the cosine of pair i at 2i, and its sine at 2i + 1."""
        angle = position[..., None].astype(mx.float32) * self.inv_freq
        return mx.stack([mx.cos(angle), mx.sin(angle)], axis=-1).reshape(*position.shape, -1)


def apply_rotary_pos_emb(x: mx.array, turns: mx.array) -> mx.array:
    """Turn the first head alone: neighbors (2i, 2i + 1) of as many channels as there are turns.

    x [B, T, heads * head_dim], turns [1, T, head_dim] -> as x. The official code comes to this by turning queries and
    keys before their heads are split.
    """
    width = turns.shape[2]
    a, b = x[..., :width:2], x[..., 1:width:2]
    cosine, sine = turns[..., ::2], turns[..., 1::2]
    turned = mx.stack([a * cosine - b * sine, a * sine + b * cosine], axis=-1).reshape(*x.shape[:2], width)
    return mx.concatenate([turned.astype(x.dtype), x[..., width:]], axis=-1)
