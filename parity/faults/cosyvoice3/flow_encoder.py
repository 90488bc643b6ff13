"""Mistakes in what CosyVoice3's flow makes of tokens: it has no encoder, only a look ahead and a repetition."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mlx_cosyvoice.flow import CausalMaskedDiffWithDiT
from mlx_cosyvoice.flow.masked_diff import CausalMaskedDiff
from parity.faults.base import Mistakes, at
from parity.faults.shared import UNIT_LENGTH, interpolated

FLOW, STREAMED_FLOW = at("flow"), at("flow", streaming="official")
AHEAD, STREAMED_AHEAD = (at("flow.pre_lookahead_layer", streaming=streaming) for streaming in (None, "official"))
MU, SPEAKER = FLOW.of(CausalMaskedDiffWithDiT.mu), FLOW.of(CausalMaskedDiff.speaker)


def _repeated_first(
    original: Any, self: Any, x: mx.array, context: mx.array | None, *, streaming: bool, cache: Any = None
) -> mx.array:
    if context is not None:
        context = mx.repeat(context, self.token_mel_ratio, axis=1)[:, : self.pre_lookahead_len]
    return self.pre_lookahead_layer(mx.repeat(x, self.token_mel_ratio, axis=1), context, cache)


MISTAKES: Mistakes = {
    "mu-tiled: The whole sequence is repeated in place of each of its frames.": MU.edits(
        "mx.repeat", "made", made=lambda x, count, axis: mx.concatenate([x] * count, axis=axis)
    ),
    "mu-interpolated: The frames between tokens are interpolated where the official code repeats them.": MU.edits(
        "mx.repeat", "made", made=interpolated
    ),
    "mu-once: A token makes one frame, with zeros for the second.": MU.edits(
        "mx.repeat", "made", made=lambda x, count, axis: mx.stack([x, 0 * x], axis=2).flatten(1, 2)
    ),
    "repeated-before-lookahead: Tokens are repeated before the layer that looks ahead, which then sees three frames of "
    "it.": FLOW.wraps(CausalMaskedDiffWithDiT, "mu", _repeated_first),
    "mu-without-lookahead: mu is the embedded tokens as they are: the layer before it is left out.": MU.edits(
        "self.pre_lookahead_layer(x, context, cache)", "x"
    ),
    "lookahead-slope-of-vocoder: The leaky ReLU of the lookahead layer has the vocoder's slope of 0.1.": AHEAD.edits(
        "0.01", "0.1"
    ),
    "lookahead-without-residual: The tokens themselves are not added to what the lookahead layer makes of them.": (
        AHEAD.edits("cache)) + x", "cache))")
    ),
    "lookahead-behind: The lookahead layer is padded on the left, so it sees three tokens before each in place of after"
    " it.": AHEAD.edits("followed(x, self.lookahead, context)", "mx.pad(x, [(0, 0), (self.lookahead, 0), (0, 0)])"),
    "lookahead-smoothed-around: The second convolution of the lookahead layer is padded on both sides.": AHEAD.edits(
        "extended(functional.leaky_relu(y, 0.01), 2, cache)",
        "mx.pad(functional.leaky_relu(y, 0.01), [(0, 0), (1, 1), (0, 0)])",
    ),
    "lookahead-zeros: While speech is streamed, zeros stand for the tokens that were held back.": STREAMED_AHEAD.edits(
        "self.lookahead, context", "self.lookahead, None"
    ),
    "lookahead-spoken: While speech is streamed, the tokens of the lookahead are spoken too.": STREAMED_FLOW.edits(
        "tokens, 0 if finalize else self.pre_lookahead_len", "tokens, 0", of=CausalMaskedDiff.encode
    ),
    "dit-speaker-not-normalized: The speaker embedding is not scaled to unit length.": SPEAKER.edits(
        UNIT_LENGTH, "embedding"
    ),
    "dit-speaker-standardized: The speaker embedding is given a standard deviation of 1 in place of unit length.": (
        SPEAKER.edits(UNIT_LENGTH, "((embedding - embedding.mean()) / mx.std(embedding))")
    ),
    "prompt-after-speech: The prompt's mel conditions the last frames in place of the first.": FLOW.edits(
        "(0, frames - cond.shape[1])", "(frames - cond.shape[1], 0)", of=CausalMaskedDiff.condition
    ),
    "tokens-counted-from-one: Tokens are looked up one row further, as if row 0 were padding.": FLOW.edits(
        "mx.maximum(tokens, 0)", "mx.minimum(tokens + 1, self.vocab_size - 1)", of=CausalMaskedDiff.features
    ),
}
