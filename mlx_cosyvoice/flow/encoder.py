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
from mlx_cosyvoice.nn import Conv1d, Identity, Module, SiLU, functional

NUM_UP_BLOCKS = 4


class PreLookaheadLayer(Module):
    """`encoder.pre_lookahead_layer`: lets every token see the next few ones, then smooths causally."""

    def __init__(self, channels: int, lookahead: int) -> None:
        super().__init__()
        self.lookahead = lookahead
        self.conv1 = Conv1d(channels, channels, lookahead + 1)
        self.conv2 = Conv1d(channels, channels, 3)

    def __call__(self, x: mx.array, context: mx.array | None) -> mx.array:
        """x [1, T, C]; context [1, lookahead, C] holds the tokens after x, None (zeros) at the end of speech."""
        if context is None:
            context = mx.zeros((x.shape[0], self.lookahead, x.shape[2]), x.dtype)
        y = self.conv1(mx.concatenate([x, context], axis=1))
        return self.conv2(mx.pad(functional.leaky_relu(y, 0.01), [(0, 0), (2, 0), (0, 0)])) + x


class Upsample1D(Module):
    """`encoder.up_layer`: repeats every frame `stride` times, then a causal convolution. [1, T, C] in and out."""

    official_axes = "bct"

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = Conv1d(channels, channels, stride * 2 + 1)

    def __call__(self, x: mx.array) -> mx.array:
        return self.conv(mx.pad(mx.repeat(x, self.stride, axis=1), [(0, 0), (2 * self.stride, 0), (0, 0)]))


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

    def __call__(self, x: mx.array, mask: mx.array | None, pos_emb: mx.array) -> mx.array:
        x = x + self.dropout(self.self_attn(self.norm_mha(x), mask, pos_emb))
        return x + self.dropout(self.feed_forward(self.norm_ff(x)))


class UpsampleConformerEncoder(Module):
    """`flow.encoder`."""

    def __init__(self, config: EncoderConfig, *, lookahead: int, upsampling: int) -> None:
        super().__init__()
        width = config.output_size
        self.static_chunk_size, self.upsampling = config.static_chunk_size, upsampling
        self.embed = LinearNoSubsampling(config.input_size, width)
        self.pre_lookahead_layer = PreLookaheadLayer(width, lookahead)
        self.encoders = [self._layer(config) for _ in range(config.num_blocks)]
        self.up_layer = Upsample1D(width, upsampling)
        self.up_embed = LinearNoSubsampling(config.input_size, width)
        self.up_encoders = [self._layer(config) for _ in range(NUM_UP_BLOCKS)]
        self.after_norm = nn.LayerNorm(width, eps=1e-5)

    @staticmethod
    def _layer(config: EncoderConfig) -> ConformerEncoderLayer:
        return ConformerEncoderLayer(config.attention_heads, config.output_size, config.linear_units)

    def __call__(self, x: mx.array, context: mx.array | None = None, *, streaming: bool) -> mx.array:
        """Encode one utterance.

        Args:
            x: [1, T, input_size] embedded tokens.
            context: [1, lookahead, input_size], the tokens that follow x; None when x ends the utterance.
            streaming: attend in chunks of `static_chunk_size` tokens instead of to everything.

        Returns:
            [1, upsampling * T, output_size].
        """
        chunk = self.static_chunk_size if streaming else 0
        x, pos_emb = self.embed(x)
        if context is not None:
            context, _ = self.embed(context)
        x = self.pre_lookahead_layer(x, context)
        mask = chunk_mask(x.shape[1], chunk)
        for layer in self.encoders:
            x = layer(x, mask, pos_emb)

        x, pos_emb = self.up_embed(self.up_layer(x))
        mask = chunk_mask(x.shape[1], chunk * self.upsampling)
        for layer in self.up_encoders:
            x = layer(x, mask, pos_emb)
        return self.after_norm(x)
