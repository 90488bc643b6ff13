"""Mistakes in what CosyVoice3's flow makes of tokens: it has no encoder, only a look ahead and a repetition."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mlx_cosyvoice.flow import CausalMaskedDiffWithDiT, flow_dit, masked_diff, pre_lookahead
from parity.faults import shared
from parity.faults.base import Catalogue

CATALOGUE = Catalogue("flow_encoder")
at = CATALOGUE.at

FLOW, STREAMED_FLOW = at("flow"), at("flow", streaming="official")
LOOKAHEAD, STREAMED_LOOKAHEAD = (
    at("flow.pre_lookahead_layer", streaming=streaming) for streaming in (None, "official")
)


def _interpolated(x: mx.array, count: int, axis: int) -> mx.array:
    after = mx.concatenate([x[:, 1:], x[:, -1:]], axis=1)
    return mx.stack([x, (x + after) / 2], axis=2).reshape(x.shape[0], -1, x.shape[2])


FLOW.calling(
    "mu-tiled",
    "The whole sequence is repeated in place of each of its frames.",
    flow_dit,
    "mx",
    repeat=lambda x, count, axis: mx.concatenate([x] * count, axis=axis),
)
FLOW.calling(
    "mu-interpolated",
    "The frames between tokens are interpolated where the official code repeats them.",
    flow_dit,
    "mx",
    repeat=_interpolated,
)
FLOW.calling(
    "mu-once",
    "A token makes one frame, with zeros for the second.",
    flow_dit,
    "mx",
    repeat=lambda x, count, axis: mx.stack([x, mx.zeros_like(x)], axis=2).reshape(x.shape[0], -1, x.shape[2]),
)


@FLOW.wrapping(CausalMaskedDiffWithDiT, "mu")
def repeated_before_lookahead(
    original: Any, self: Any, x: mx.array, context: mx.array | None, *, streaming: bool, cache: Any = None
) -> mx.array:
    """Tokens are repeated before the layer that looks ahead, which then sees three frames of it."""
    if context is not None:
        context = mx.repeat(context, self.token_mel_ratio, axis=1)[:, : self.pre_lookahead_len]
    return self.pre_lookahead_layer(mx.repeat(x, self.token_mel_ratio, axis=1), context, cache)


@FLOW.wrapping(CausalMaskedDiffWithDiT, "mu")
def mu_without_lookahead(
    original: Any, self: Any, x: mx.array, context: mx.array | None, *, streaming: bool, cache: Any = None
) -> mx.array:
    """mu is the embedded tokens as they are: the layer before it is left out."""
    return mx.repeat(x, self.token_mel_ratio, axis=1)


LOOKAHEAD.calling(
    "lookahead-slope-of-vocoder",
    "The leaky ReLU of the lookahead layer has the vocoder's slope of 0.1.",
    pre_lookahead,
    "functional",
    leaky_relu=shared.vocoders_slope,
)


LOOKAHEAD.behaves(
    "lookahead-without-residual",
    "The tokens themselves are not added to what the lookahead layer makes of them.",
    shared.residual_dropped,
)


@LOOKAHEAD.wrapping(pre_lookahead, "followed")
def lookahead_behind(original: Any, x: mx.array, reach: int, context: mx.array | None) -> mx.array:
    """The lookahead layer is padded on the left, so it sees three tokens before each in place of after it."""
    return mx.pad(x, [(0, 0), (reach, 0), (0, 0)])


@LOOKAHEAD.wrapping(pre_lookahead, "extended")
def lookahead_smoothed_around(original: Any, x: mx.array, reach: int, cache: Any) -> mx.array:
    """The second convolution of the lookahead layer is padded on both sides."""
    return mx.pad(x, [(0, 0), (1, 1), (0, 0)])


@STREAMED_LOOKAHEAD.behaving
def lookahead_zeros(self: Any, x: mx.array, context: mx.array | None, cache: Any = None) -> mx.array:
    """While speech is streamed, zeros stand for the tokens that were held back."""
    return self(x, None, cache)


@STREAMED_FLOW.wrapping(CausalMaskedDiffWithDiT, "encode")
def lookahead_spoken(original: Any, self: Any, *inputs: mx.array, streaming: bool, finalize: bool) -> Any:
    """While speech is streamed, the tokens of the lookahead are spoken too."""
    return original(self, *inputs, streaming=streaming, finalize=True)


FLOW.patching(
    "dit-speaker-not-normalized",
    "The speaker embedding is not scaled to unit length.",
    masked_diff,
    "normalized",
    lambda x: x,
)
FLOW.patching(
    "dit-speaker-standardized",
    "The speaker embedding is given a standard deviation of 1 in place of unit length.",
    masked_diff,
    "normalized",
    lambda x: (x - x.mean(axis=1, keepdims=True)) / mx.std(x, axis=1, keepdims=True),
)


@FLOW.wrapping(CausalMaskedDiffWithDiT, "condition")
def prompt_after_speech(original: Any, self: Any, feat: mx.array, frames: int) -> mx.array:
    """The prompt's mel conditions the last frames in place of the first."""
    made = original(self, feat, frames)
    return mx.roll(made, frames - min(feat.shape[1], frames), 1)


@FLOW.wrapping(CausalMaskedDiffWithDiT, "features")
def tokens_counted_from_one(original: Any, self: Any, tokens: mx.array, lookahead: int, **options: Any) -> mx.array:
    """Tokens are looked up one row further, as if row 0 were padding."""
    return original(self, mx.minimum(tokens + 1, self.vocab_size - 1), lookahead, **options)
