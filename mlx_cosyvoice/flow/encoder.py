"""`flow.encoder`, UpsampleConformerEncoder: 25 Hz token embeddings to 50 Hz features.

Batches hold one utterance without padding, so the official padding masks (all ones) are left out.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.config import EncoderConfig
from mlx_cosyvoice.flow.attention import RelPositionMultiHeadedAttention
from mlx_cosyvoice.flow.embedding import LinearNoSubsampling
from mlx_cosyvoice.flow.masks import chunk_mask
from mlx_cosyvoice.flow.pre_lookahead import PreLookaheadLayer
from mlx_cosyvoice.nn import Conv1d, Identity, Module, SiLU
from mlx_cosyvoice.nn.cache import Cache, extended, keys_with, part_of

NUM_UP_BLOCKS = 4


class Upsample1D(Module):
    """`encoder.up_layer`: repeats every frame `stride` times, then a causal convolution. [1, T, C] in and out."""

    official_axes = "bct"

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = Conv1d(channels, channels, stride * 2 + 1)

    def __call__(self, x: mx.array, cache: Cache | None = None) -> mx.array:
        return self.conv(extended(mx.repeat(x, self.stride, axis=1), 2 * self.stride, cache))


class PositionwiseFeedForward(Module):
    """`encoders.N.feed_forward`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, hidden)
        self.activation = SiLU()
        self.dropout = Identity()
        self.w_2 = nn.Linear(hidden, width)

    def __call__(self, x: mx.array) -> mx.array:
        return self.w_2(self.dropout(self.activation(self.w_1(x))))


class ConformerEncoderLayer(Module):
    """`encoders.N`: pre-norm attention and feed-forward (CosyVoice2 uses neither macaron nor convolution)."""

    def __init__(self, heads: int, width: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = RelPositionMultiHeadedAttention(heads, width)
        self.feed_forward = PositionwiseFeedForward(width, hidden)
        self.norm_ff = nn.LayerNorm(width, eps=1e-12)
        self.norm_mha = nn.LayerNorm(width, eps=1e-12)
        self.dropout = Identity()

    def __call__(self, x: mx.array, mask: mx.array | None, pos_emb: mx.array, cache: Cache | None = None) -> mx.array:
        """As `self_attn`."""
        x = x + self.dropout(self.self_attn(self.norm_mha(x), mask, pos_emb, cache))
        return x + self.dropout(self.feed_forward(self.norm_ff(x)))


class UpsampleConformerEncoder(Module):
    """`flow.encoder`."""

    def __init__(self, config: EncoderConfig, *, lookahead: int, upsampling: int) -> None:
        super().__init__()
        width = config.output_size
        self.static_chunk_size, self.upsampling = config.static_chunk_size, upsampling
        self.embed = LinearNoSubsampling(config.input_size, width)
        self.pre_lookahead_layer = PreLookaheadLayer(width, width, lookahead)
        self.encoders = [self._layer(config) for _ in range(config.num_blocks)]
        self.up_layer = Upsample1D(width, upsampling)
        self.up_embed = LinearNoSubsampling(config.input_size, width)
        self.up_encoders = [self._layer(config) for _ in range(NUM_UP_BLOCKS)]
        self.after_norm = nn.LayerNorm(width, eps=1e-5)

    @staticmethod
    def _layer(config: EncoderConfig) -> ConformerEncoderLayer:
        return ConformerEncoderLayer(config.attention_heads, config.output_size, config.linear_units)

    def __call__(
        self, x: mx.array, context: mx.array | None = None, *, streaming: bool, cache: Cache | None = None
    ) -> mx.array:
        """Encode one utterance, or one chunk of it.

        Args:
            x: [1, T, input_size] embedded tokens; with a cache at most `static_chunk_size`, fewer only at the end.
            context: [1, L, input_size], the tokens that follow x, as many as the lookahead has; fewer, or None, where
                the utterance ends.
            streaming: attend in chunks of `static_chunk_size` tokens instead of to everything.
            cache: the chunks before; only while streaming.

        Returns:
            [1, upsampling * T, output_size].
        """
        chunk, up_chunk = self.static_chunk_size, self.static_chunk_size * self.upsampling
        blocks, up_blocks = part_of(cache, "encoders", chunk), part_of(cache, "up_encoders", up_chunk)
        x, pos_emb = self.embed(x, keys_with(blocks, x.shape[1]))
        if context is not None:
            context, _ = self.embed(context)
        x = self.pre_lookahead_layer(x, context, cache)
        masked = streaming and cache is None  # what a cache holds is in sight, and a piece is one chunk
        mask = chunk_mask(x.shape[1], chunk if masked else 0)
        for layer in self.encoders:
            x = layer(x, mask, pos_emb, blocks)

        x = self.up_layer(x, cache)
        x, pos_emb = self.up_embed(x, keys_with(up_blocks, x.shape[1]))
        mask = chunk_mask(x.shape[1], up_chunk if masked else 0)
        for layer in self.up_encoders:
            x = layer(x, mask, pos_emb, up_blocks)
        return self.after_norm(x)
