"""`flow.decoder.estimator`, CausalConditionalDecoder: the velocity field that the flow's Euler solver follows.

Batches hold one utterance (and its unconditioned twin) without padding, so the official padding masks (all ones) are
left out. Convolutions see the past only; what attention sees of the future is bounded by the chunk mask.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.config import EstimatorConfig
from mlx_cosyvoice.flow.attention import Attention
from mlx_cosyvoice.flow.embedding import TimestepEmbedding
from mlx_cosyvoice.flow.sinusoids import SinusoidalPosEmb
from mlx_cosyvoice.mixed import outer_dtype
from mlx_cosyvoice.nn import Conv1d, Identity, Mish, Module, Sequential, functional
from mlx_cosyvoice.nn.cache import Cache, constant


class CausalBlock1D(Module):
    """`...block1`, `...block2`, `estimator.final_block`. [B, T, dim] -> [B, T, dim_out]."""

    official_axes = "bct"

    def __init__(self, dim: int, dim_out: int) -> None:
        super().__init__()
        self.block = Sequential(
            Conv1d(dim, dim_out, 3, pad=(2, 0)),
            Identity(official_input_axes="bct"),
            nn.LayerNorm(dim_out),
            Identity(official_axes="bct", official_input_axes="btc"),
            Mish(official_axes="bct"),
            official_axes="bct",
        )

    def __call__(self, x: mx.array, cache: Cache | None = None) -> mx.array:
        return self.block(x, cache)


class CausalResnetBlock1D(Module):
    """`down_blocks.N.0`, `mid_blocks.N.0`, `up_blocks.N.0`: two convolutions with the time added in between."""

    official_axes = "bct"

    def __init__(self, dim: int, dim_out: int, time_dim: int) -> None:
        super().__init__()
        self.mlp = Sequential(Mish(), nn.Linear(time_dim, dim_out))
        self.block1 = CausalBlock1D(dim, dim_out)
        self.block2 = CausalBlock1D(dim_out, dim_out)
        self.res_conv = Conv1d(dim, dim_out, 1)

    def __call__(self, x: mx.array, time: mx.array, cache: Cache | None = None) -> mx.array:
        """x [B, T, dim], time [B, time_dim] -> [B, T, dim_out]."""
        h = self.block1(x, cache) + constant(lambda: self.mlp(time)[:, None], cache)
        return self.block2(h, cache) + self.res_conv(x)


class GELU(Module):
    """`...ff.net.0`, diffusers' `GELU`: a projection followed by the exact GELU."""

    def __init__(self, dim: int, dim_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, dim_out)

    def __call__(self, x: mx.array) -> mx.array:
        return functional.gelu(self.proj(x))


class FeedForward(Module):
    """`...ff`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = [GELU(dim, 4 * dim), Identity(), nn.Linear(4 * dim, dim)]

    def __call__(self, x: mx.array) -> mx.array:
        for module in self.net:
            x = module(x)
        return x


class BasicTransformerBlock(Module):
    """`down_blocks.N.1.M` and so on, matcha's block: pre-norm attention and feed-forward. [B, T, dim] in and out."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads, head_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def __call__(self, x: mx.array, mask: mx.array | None, cache: Cache | None = None) -> mx.array:
        x = x + self.attn1(self.norm1(x), mask, cache)
        return x + self.ff(self.norm3(x))


class CausalConditionalDecoder(Module):
    """`flow.decoder.estimator`.

    Raises:
        ValueError: `channels` names more than one width. CosyVoice2 has a single resolution; with more, the official
            network halves the frame rate by convolutions that see the future.
    """

    official_axes = "bct"

    def __init__(self, config: EstimatorConfig) -> None:
        super().__init__()
        if len(config.channels) != 1:
            raise ValueError(f"estimator channels must hold one width, as in CosyVoice2, not {config.channels}")
        (width,) = config.channels
        time_dim = 4 * width
        self.static_chunk_size = config.static_chunk_size

        def level(dim: int, *tail: Module) -> list[Any]:
            size = (width, config.num_heads, config.attention_head_dim)
            blocks = [BasicTransformerBlock(*size) for _ in range(config.n_blocks)]
            return [CausalResnetBlock1D(dim, width, time_dim), blocks, *tail]

        self.time_embeddings = SinusoidalPosEmb(config.in_channels)
        self.time_mlp = TimestepEmbedding(config.in_channels, time_dim)
        self.down_blocks = [level(config.in_channels, Conv1d(width, width, 3, pad=(2, 0)))]
        self.mid_blocks = [level(width) for _ in range(config.num_mid_blocks)]
        self.up_blocks = [level(2 * width, Conv1d(width, width, 3, pad=(2, 0)))]
        self.final_block = CausalBlock1D(width, width)
        self.final_proj = Conv1d(width, config.out_channels, 1)

    @property
    def dtype(self) -> mx.Dtype:
        """Of the activations."""
        return outer_dtype(self.final_proj)

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
            mu: [B, T, 80] the encoder's features.
            t: [B] float32 times, 0 is noise and 1 is speech.
            spks: [B, 80] speaker.
            cond: [B, T, 80] the prompt's mel, zeros after it.
            mask: [T, T] bool, which frames (columns) each frame attends to; None for all. With a cache always None.
            cache: the frames before, at the same time t.

        Returns:
            [B, T, 80].
        """
        time = constant(lambda: self.time_mlp(self.time_embeddings(t).astype(self.dtype)), cache)
        spks = mx.broadcast_to(spks[:, None], (*x.shape[:2], spks.shape[-1]))
        x = mx.concatenate([x, mu, spks, cond], axis=-1)

        def run(level: Any, x: mx.array) -> mx.array:
            x = level[0](x, time, cache)
            for block in level[1]:
                x = block(x, mask, cache)
            return x

        down: Any = self.down_blocks[0]
        up: Any = self.up_blocks[0]
        x = skip = run(down, x)
        x = down[2](x, cache)
        for level in self.mid_blocks:
            x = run(level, x)
        x = up[2](run(up, mx.concatenate([x, skip], axis=-1)), cache)
        return self.final_proj(self.final_block(x, cache))
