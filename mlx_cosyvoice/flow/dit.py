"""`flow.decoder.estimator` of CosyVoice3, DiT: the velocity field that the flow's Euler solver follows.

Batches hold one utterance (and its unconditioned twin) without padding, so the official padding masks (all ones) are
left out. Convolutions see the past only; what attention sees of the future is bounded by the chunk mask.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.config import DiTConfig
from mlx_cosyvoice.flow.dit_block import AdaLayerNormZero_Final, DiTBlock
from mlx_cosyvoice.flow.rotary import RotaryEmbedding
from mlx_cosyvoice.flow.sinusoids import SinusoidalPosEmb
from mlx_cosyvoice.mixed import outer_dtype
from mlx_cosyvoice.nn import Conv1d, Mish, Module, Sequential, SiLU
from mlx_cosyvoice.nn.cache import Cache, constant, extended, first_position

TIME_WIDTH = 256
POSITION_KERNEL, POSITION_GROUPS = 31, 16


class TimestepEmbedding(Module):
    """`estimator.time_embed`: times in 0..1, [B] float32, to [B, dim] float32.

    It is float32 whatever the weights are: that costs nothing, with a row for each entry of the batch.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.time_embed = SinusoidalPosEmb(TIME_WIDTH)
        self.time_mlp = Sequential(nn.Linear(TIME_WIDTH, dim), SiLU(), nn.Linear(dim, dim))

    def __call__(self, t: mx.array) -> mx.array:
        return self.time_mlp(self.time_embed(t))


def _position_convolution(dim: int) -> Sequential:
    conv = Conv1d(dim, dim, POSITION_KERNEL, groups=POSITION_GROUPS)
    return Sequential(conv, Mish(official_axes="bct"), official_axes="bct")


class CausalConvPositionEmbedding(Module):
    """`estimator.input_embed.conv_pos_embed`: two convolutions that see the past only. [B, T, dim] in and out."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = _position_convolution(dim)
        self.conv2 = _position_convolution(dim)

    def __call__(self, x: mx.array, cache: Cache | None = None) -> mx.array:
        for conv in (self.conv1, self.conv2):
            x = conv(extended(x, POSITION_KERNEL - 1, cache))
        return x


class InputEmbedding(Module):
    """`estimator.input_embed`: the four inputs in the official order, joined."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.proj = nn.Linear(2 * config.mel_dim + config.mu_dim + config.spk_dim, config.dim)
        self.conv_pos_embed = CausalConvPositionEmbedding(config.dim)

    def __call__(
        self, x: mx.array, cond: mx.array, mu: mx.array, spks: mx.array, cache: Cache | None = None
    ) -> mx.array:
        """x and cond [B, T, 80] mel, mu [B, T, 80], spks [B, 80] -> [B, T, dim]."""
        spks = mx.broadcast_to(spks[:, None], (*x.shape[:2], spks.shape[-1]))
        x = self.proj(mx.concatenate([x, cond, mu, spks], axis=-1))
        return self.conv_pos_embed(x, cache) + x


class DiT(Module):
    """`flow.decoder.estimator`.

    Raises:
        ValueError: `dim` does not divide into the groups of the convolutions, or `dim_head` is odd.
    """

    official_axes = "bct"

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        if config.dim % POSITION_GROUPS or config.dim_head % 2:
            raise ValueError(
                f"dim must be a multiple of {POSITION_GROUPS} and dim_head of 2, not {config.dim} and {config.dim_head}"
            )
        self.static_chunk_size = config.static_chunk_size
        self.time_embed = TimestepEmbedding(config.dim)
        self.input_embed = InputEmbedding(config)
        self.rotary_embed = RotaryEmbedding(config.dim_head)
        self.transformer_blocks = [DiTBlock(config) for _ in range(config.depth)]
        self.norm_out = AdaLayerNormZero_Final(config.dim)
        self.proj_out = nn.Linear(config.dim, config.mel_dim)

    @property
    def dtype(self) -> mx.Dtype:
        """Of the activations. The convolutions are the layers with weights that are never packed."""
        positions = self.input_embed.conv_pos_embed
        return outer_dtype(self.input_embed, positions, positions.conv1, positions.conv1[0])

    def __call__(
        self,
        x: mx.array,
        mu: mx.array,
        t: mx.array,
        spks: mx.array,
        cond: mx.array,
        *,
        mask: mx.array | None,
        cache: Cache | None = None,
    ) -> mx.array:
        """The velocity at x; all but t in the weights' dtype.

        Args:
            x: [B, T, 80] the noisy mel.
            mu: [B, T, 80] the tokens' features.
            t: [B] float32 times, 0 is noise and 1 is speech.
            spks: [B, 80] speaker.
            cond: [B, T, 80] the prompt's mel, zeros after it.
            mask: [T, T] bool, which frames (columns) each frame attends to; None for all. With a cache always None.
            cache: the frames before, at the same time t.

        Returns:
            [B, T, 80].
        """
        time = constant(lambda: self.time_embed(t).astype(self.dtype), cache)
        start = first_position(cache, x.shape[1])
        turns = self.rotary_embed(mx.arange(start, start + x.shape[1])[None])
        x = self.input_embed(x, cond, mu, spks, cache)
        for block in self.transformer_blocks:
            x = block(x, time, mask, turns, cache)
        return self.proj_out(self.norm_out(x, time, cache))
