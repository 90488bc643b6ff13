"""`cosyvoice.transformer.upsample_encoder.UpsampleConformerEncoder`: 25 Hz token embeddings to 50 Hz features.

Batches hold one utterance without padding, so the official padding masks (all ones) are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NUM_UP_BLOCKS = 4


def chunk_mask(length: int, chunk_size: int, device: torch.device, left_chunks: int = -1) -> Tensor | None:
    """Which keys each query may see: up to the end of its own chunk, from `left_chunks` before it (-1: from the start).

    Returns [length, length] bool, or None for full attention where `chunk_size` is 0. Source:
    `cosyvoice.utils.mask.subsequent_chunk_mask`.
    """
    if chunk_size <= 0:
        return None
    chunk = torch.arange(length, device=device) // chunk_size
    seen = chunk[None, :] <= chunk[:, None]
    return seen if left_chunks < 0 else seen & (chunk[None, :] >= chunk[:, None] - left_chunks)


@contextmanager
def left_context(network: nn.Module, chunks: int | None) -> Iterator[None]:
    """Let every part of a network attend to at most so many chunks before its own, while the context lasts."""
    limited: list[Any] = [part for part in network.modules() if hasattr(part, "num_decoding_left_chunks")]
    for part in limited:
        part.num_decoding_left_chunks = -1 if chunks is None else chunks
    try:
        yield
    finally:
        for part in limited:
            part.num_decoding_left_chunks = -1


class EspnetRelPositionalEncoding(nn.Module):
    """`encoder.embed.pos_enc`: scales the features and makes the sinusoids of all relative positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [1, T, width] -> (scaled x, pos_emb [1, 2T-1, width] of the positions T-1 down to -(T-1))."""
        length = x.shape[1]
        # Angles grow to thousands of radians: half precision would lose them.
        precise = torch.promote_types(x.dtype, torch.float32)
        position = torch.arange(length - 1, -length, -1, device=x.device, dtype=precise)
        rate = torch.exp(
            torch.arange(0, self.width, 2, device=x.device, dtype=precise) * -(math.log(10000.0) / self.width)
        )
        angle = position[:, None] * rate[None, :]
        pos_emb = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
        return x * math.sqrt(self.width), pos_emb[None].to(x.dtype)


class LinearNoSubsampling(nn.Module):
    """`encoder.embed` and `encoder.up_embed`: a normalized projection, then the positions."""

    def __init__(self, in_size: int, out_size: int) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Linear(in_size, out_size), nn.LayerNorm(out_size, eps=1e-5), nn.Identity())
        self.pos_enc = EspnetRelPositionalEncoding(out_size)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.pos_enc(self.out(x))


class PreLookaheadLayer(nn.Module):
    """`pre_lookahead_layer`: lets every token see the next few ones, then smooths causally."""

    def __init__(self, in_channels: int, channels: int, lookahead: int) -> None:
        super().__init__()
        self.lookahead = lookahead
        self.conv1 = nn.Conv1d(in_channels, channels, lookahead + 1)
        self.conv2 = nn.Conv1d(channels, in_channels, 3)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """x [1, T, C]; context [1, lookahead, C] holds the tokens after x, None (zeros) at the end of speech."""
        y = x.transpose(1, 2)
        y = F.pad(y, (0, self.lookahead)) if context is None else torch.cat([y, context.transpose(1, 2)], dim=2)
        y = F.leaky_relu(self.conv1(y))
        y = self.conv2(F.pad(y, (2, 0)))
        return y.transpose(1, 2) + x


class Upsample1D(nn.Module):
    """`encoder.up_layer`: repeats every frame `stride` times, then a causal convolution. [1, C, T] in and out."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv1d(channels, channels, stride * 2 + 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.repeat_interleave(self.stride, dim=2)
        return self.conv(F.pad(x, (self.stride * 2, 0)))


def rel_shift(scores: Tensor) -> Tensor:
    """[.., T, 2T-1] scores by relative position (T-1 first) -> [.., T, T] scores by key: out[i, j] = in[i, T-1-i+j]."""
    *batch, length, positions = scores.shape
    rolled = F.pad(scores, (1, 0)).reshape(*batch, positions + 1, length)[..., 1:, :]
    return rolled.reshape(*batch, length, positions)[..., :length]


class RelPositionMultiHeadedAttention(nn.Module):
    """`encoders.N.self_attn`: attention with Transformer-XL relative positions."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, self.head_dim))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, self.head_dim))

    def split(self, x: Tensor) -> Tensor:
        """[1, T, width] -> [1, heads, T, head_dim]."""
        return x.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor | None, pos_emb: Tensor) -> Tensor:
        q, k, v = self.split(self.linear_q(x)), self.split(self.linear_k(x)), self.split(self.linear_v(x))
        p = self.split(self.linear_pos(pos_emb))
        by_content = (q + self.pos_bias_u[:, None]) @ k.transpose(-2, -1)
        by_position = rel_shift((q + self.pos_bias_v[:, None]) @ p.transpose(-2, -1))
        scores = (by_content + by_position) / math.sqrt(self.head_dim)
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        return self.linear_out((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class PositionwiseFeedForward(nn.Module):
    """`encoders.N.feed_forward`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, hidden)
        self.activation = nn.SiLU()
        self.dropout = nn.Identity()
        self.w_2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(self.dropout(self.activation(self.w_1(x))))


class ConformerEncoderLayer(nn.Module):
    """`encoders.N`: pre-norm attention and feed-forward (CosyVoice2 uses neither macaron nor convolution)."""

    def __init__(self, heads: int, width: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = RelPositionMultiHeadedAttention(heads, width)
        self.feed_forward = PositionwiseFeedForward(width, hidden)
        self.norm_ff = nn.LayerNorm(width, eps=1e-12)
        self.norm_mha = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Identity()

    def forward(self, x: Tensor, mask: Tensor | None, pos_emb: Tensor) -> Tensor:
        x = x + self.dropout(self.self_attn(self.norm_mha(x), mask, pos_emb))
        return x + self.dropout(self.feed_forward(self.norm_ff(x)))


class UpsampleConformerEncoder(nn.Module):
    """`encoder`. `config` has the fields of `EncoderConfig`."""

    def __init__(self, config: Mapping[str, Any], *, lookahead: int, upsampling: int) -> None:
        super().__init__()
        width = config["output_size"]
        layer = (config["attention_heads"], width, config["linear_units"])
        self.static_chunk_size = config["static_chunk_size"]
        self.num_decoding_left_chunks = -1  # all, but in a `left_context`
        self.upsampling = upsampling
        self.embed = LinearNoSubsampling(config["input_size"], width)
        self.after_norm = nn.LayerNorm(width, eps=1e-5)
        self.pre_lookahead_layer = PreLookaheadLayer(width, width, lookahead)
        self.encoders = nn.ModuleList(ConformerEncoderLayer(*layer) for _ in range(config["num_blocks"]))
        self.up_layer = Upsample1D(width, upsampling)
        self.up_embed = LinearNoSubsampling(config["input_size"], width)
        self.up_encoders = nn.ModuleList(ConformerEncoderLayer(*layer) for _ in range(NUM_UP_BLOCKS))

    def forward(self, x: Tensor, context: Tensor | None = None, *, streaming: bool) -> Tensor:
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
        mask = chunk_mask(x.shape[1], chunk, x.device, self.num_decoding_left_chunks)
        for layer in self.encoders:
            x = layer(x, mask, pos_emb)

        x = self.up_layer(x.transpose(1, 2)).transpose(1, 2)
        x, pos_emb = self.up_embed(x)
        mask = chunk_mask(x.shape[1], chunk * self.upsampling, x.device, self.num_decoding_left_chunks)
        for layer in self.up_encoders:
            x = layer(x, mask, pos_emb)
        return self.after_norm(x)
