"""Mistakes in the flow's encoder and in what it hands to the decoder."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mlx_cosyvoice.flow import CausalMaskedDiffWithXvec, attention, embedding, encoder, masked_diff, pre_lookahead
from parity.faults import shared
from parity.faults.base import Catalogue, Context
from parity.pair import Pair

CATALOGUE = Catalogue("flow_encoder")
at = CATALOGUE.at

LAYERS = ("flow.encoder.encoders.*", "flow.encoder.up_encoders.*")
NORMS = tuple(f"{layer}.{norm}" for layer in LAYERS for norm in ("norm_ff", "norm_mha"))
SELF_ATTENTIONS = tuple(f"{layer}.self_attn" for layer in LAYERS)
FLOW, STREAMED_FLOW = at("flow"), at("flow", streaming="official")
STREAMED_ENCODER = at("flow.encoder", streaming="official")
ATTENTIONS = at(*SELF_ATTENTIONS)
POSITIONS = at("flow.encoder.embed.pos_enc", "flow.encoder.up_embed.pos_enc", kind="leaf")
UPSAMPLING, LOOKAHEAD = at("flow.encoder.up_layer"), at("flow.encoder.pre_lookahead_layer")


@STREAMED_ENCODER.wrapping(encoder, "chunk_mask")
def encoder_mask(original: Any, length: int, chunk_size: int) -> None:
    """The chunk mask of streaming is dropped, so every token attends to all tokens."""


STREAMED_ENCODER.setting(
    "encoder-chunk-not-upsampled",
    "After the upsampling the mask still counts 25 to a chunk, where there are 50 frames now.",
    upsampling=1,
)


@STREAMED_FLOW.wrapping(CausalMaskedDiffWithXvec, "encode")
def streaming_not_passed(original: Any, self: Any, *inputs: mx.array, streaming: bool, finalize: bool) -> Any:
    """`streaming` is not passed on to the encoder."""
    return original(self, *inputs, streaming=False, finalize=finalize)


@STREAMED_FLOW.wrapping(CausalMaskedDiffWithXvec, "encode")
def lookahead_context_dropped(
    original: Any, self: Any, token: mx.array, *inputs: mx.array, streaming: bool, finalize: bool
) -> Any:
    """The tokens held back for lookahead are cut off but not shown to the encoder."""
    shown = token if finalize else token[:, : -self.pre_lookahead_len]
    return original(self, shown, *inputs, streaming=streaming, finalize=True)


class _Zero:
    min = 0.0


at(*SELF_ATTENTIONS, streaming="official").calling(
    "encoder-mask-value",
    "Masked scores are set to zero before the softmax, which is no mask at all.",
    attention,
    "mx",
    finfo=lambda dtype: _Zero,
)


@ATTENTIONS.wrapping(attention, "rel_shift")
def rel_shift_off_by_one(original: Any, scores: mx.array) -> mx.array:
    """The relative shift is off by one position."""
    return original(mx.roll(scores, 1, -1))


@ATTENTIONS.wrapping(attention, "rel_shift")
def rel_shift_missing(original: Any, scores: mx.array) -> mx.array:
    """Scores by relative position are cut off in place of shifted."""
    return scores[..., : scores.shape[-2]]


@at(*SELF_ATTENTIONS, kind="weights").switching
def pos_bias_swapped(pair: Pair) -> Context:
    """pos_bias_u and pos_bias_v are exchanged."""

    class Swapped:
        """Exchanges two parameters of every attention while it is entered; twice is back again."""

        def __enter__(self) -> None:
            for module in ATTENTIONS.modules(pair):
                module.pos_bias_u, module.pos_bias_v = module.pos_bias_v, module.pos_bias_u

        def __exit__(self, *error: object) -> None:
            self.__enter__()

    return Swapped()


POSITIONS.calling(
    "embedding-scale",
    "The features are not multiplied by the root of the width before the positions.",
    embedding,
    "math",
    sqrt=lambda width: 1.0,
)


@POSITIONS.behaving
def positions_reversed(self: Any, x: mx.array, keys: int | None = None) -> tuple[mx.array, mx.array]:
    """The table of relative positions runs from past to future."""
    x, table = self(x, keys)
    return x, table[:, ::-1]


def _interpolated(x: mx.array, count: int, axis: int) -> mx.array:
    after = mx.concatenate([x[:, 1:], x[:, -1:]], axis=1)
    parts = [x * (1 - part / count) + after * (part / count) for part in range(count)]
    return mx.stack(parts, axis=2).reshape(x.shape[0], -1, x.shape[2])


UPSAMPLING.calling(
    "upsample-linear",
    "Frames are interpolated linearly where the official code repeats them.",
    encoder,
    "mx",
    repeat=_interpolated,
)
UPSAMPLING.calling(
    "upsample-tiled",
    "The whole sequence is repeated in place of each of its frames.",
    encoder,
    "mx",
    repeat=lambda x, count, axis: mx.concatenate([x] * count, axis=axis),
)
LOOKAHEAD.calling(
    "lookahead-slope",
    "The leaky ReLU of the lookahead layer has the vocoder's slope of 0.1.",
    pre_lookahead,
    "functional",
    leaky_relu=shared.vocoders_slope,
)


LOOKAHEAD.behaves("lookahead-residual", "The lookahead layer lacks its residual connection.", shared.residual_dropped)
at(*NORMS, kind="leaf").setting(
    "encoder-norm-epsilon",
    "The LayerNorms of the encoder's layers have the usual epsilon 1e-5 in place of 1e-12.",
    eps=1e-5,
)


@at(*LAYERS).behaving
def encoder_post_norm(self: Any, x: mx.array, mask: mx.array | None, pos_emb: mx.array, cache: Any = None) -> mx.array:
    """The layers normalize after attention in place of before it."""
    x = self.norm_mha(x + self.dropout(self.self_attn(x, mask, pos_emb, cache)))
    return self.norm_ff(x + self.dropout(self.feed_forward(x)))


FLOW.patching(
    "speaker-not-normalized",
    "The speaker embedding is not scaled to unit length.",
    masked_diff,
    "normalized",
    lambda x: x,
)


@FLOW.wrapping(CausalMaskedDiffWithXvec, "encode")
def prompt_mel_missing(original: Any, self: Any, *inputs: mx.array, **mode: bool) -> tuple[mx.array, ...]:
    """The prompt's mel is missing from the conditions."""
    mu, spks, cond = original(self, *inputs, **mode)
    return mu, spks, mx.zeros_like(cond)


FLOW.calling(
    "prompt-token-order",
    "The prompt's tokens follow the new ones in place of preceding them.",
    masked_diff,
    "mx",
    concatenate=lambda arrays, axis=0: mx.concatenate(arrays[::-1], axis=axis),
)
ATTENTIONS.calling(
    "encoder-attention-unscaled", "The attention scores lack their scale.", attention, "math", sqrt=lambda head_dim: 1.0
)
