"""Mistakes in the flow's encoder and in what it hands to the decoder."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.flow import attention, embedding, encoder, flow
from parity.faults.base import Catalogue, behaving, calling, modules_at, patched, setting
from parity.pair import Pair

Context = AbstractContextManager[Any]

CATALOGUE = Catalogue("flow_encoder")
fault = CATALOGUE.add

LAYERS = ("flow.encoder.encoders.*", "flow.encoder.up_encoders.*")
ATTENTIONS = tuple(f"{layer}.self_attn" for layer in LAYERS)


@fault(
    "encoder-mask",
    "The chunk mask of streaming is dropped, so every token attends to all tokens.",
    "flow.encoder",
    streaming="official",
)
def encoder_mask(pair: Pair) -> Context:
    return patched(encoder, "chunk_mask", lambda length, chunk_size: None)


@fault(
    "encoder-chunk-not-upsampled",
    "After the upsampling the mask still counts 25 to a chunk, where there are 50 frames now.",
    "flow.encoder",
    streaming="official",
)
def encoder_chunk_not_upsampled(pair: Pair) -> Context:
    return setting(modules_at(pair, "flow.encoder"), upsampling=1)


@fault("streaming-not-passed", "`streaming` is not passed on to the encoder.", "flow", streaming="official")
def streaming_not_passed(pair: Pair) -> Context:
    original = flow.CausalMaskedDiffWithXvec.encode

    def encode(self: Any, *inputs: mx.array, streaming: bool, finalize: bool) -> tuple[mx.array, mx.array, mx.array]:
        return original(self, *inputs, streaming=False, finalize=finalize)

    return patched(flow.CausalMaskedDiffWithXvec, "encode", encode)


@fault(
    "lookahead-context-dropped",
    "The tokens held back for lookahead are cut off but not shown to the encoder.",
    "flow",
    streaming="official",
)
def lookahead_context_dropped(pair: Pair) -> Context:
    original = flow.CausalMaskedDiffWithXvec.encode

    def encode(
        self: Any, token: mx.array, *inputs: mx.array, streaming: bool, finalize: bool
    ) -> tuple[mx.array, mx.array, mx.array]:
        shown = token if finalize else token[:, : -self.pre_lookahead_len]
        return original(self, shown, *inputs, streaming=streaming, finalize=True)

    return patched(flow.CausalMaskedDiffWithXvec, "encode", encode)


@fault(
    "encoder-mask-value",
    "Masked scores are set to zero before the softmax, which is no mask at all.",
    *ATTENTIONS,
    streaming="official",
)
def encoder_mask_value(pair: Pair) -> Context:
    class Zero:
        min = 0.0

    return calling(attention, "mx", finfo=lambda dtype: Zero)


@fault("rel-shift-off-by-one", "The relative shift is off by one position.", *ATTENTIONS)
def rel_shift_off_by_one(pair: Pair) -> Context:
    original = attention.rel_shift
    return patched(attention, "rel_shift", lambda scores: original(mx.roll(scores, 1, -1)))


@fault("rel-shift-missing", "Scores by relative position are cut off in place of shifted.", *ATTENTIONS)
def rel_shift_missing(pair: Pair) -> Context:
    return patched(attention, "rel_shift", lambda scores: scores[..., : scores.shape[-2]])


@fault("pos-bias-swapped", "pos_bias_u and pos_bias_v are exchanged.", *ATTENTIONS, kind="weights")
def pos_bias_swapped(pair: Pair) -> Context:
    class Swapped:
        """Exchanges two parameters of every attention while it is entered; twice is back again."""

        def __enter__(self) -> None:
            for module in modules_at(pair, *ATTENTIONS):
                module.pos_bias_u, module.pos_bias_v = module.pos_bias_v, module.pos_bias_u

        def __exit__(self, *error: object) -> None:
            self.__enter__()

    return Swapped()


@fault(
    "embedding-scale",
    "The features are not multiplied by the root of the width before the positions.",
    "flow.encoder.embed.pos_enc",
    "flow.encoder.up_embed.pos_enc",
    kind="leaf",
)
def embedding_scale(pair: Pair) -> Context:
    return calling(embedding, "math", sqrt=lambda width: 1.0)


@fault(
    "positions-reversed",
    "The table of relative positions runs from past to future.",
    "flow.encoder.embed.pos_enc",
    "flow.encoder.up_embed.pos_enc",
    kind="leaf",
)
def positions_reversed(pair: Pair) -> Context:
    def reversed_table(self: Any, x: mx.array, keys: int | None = None) -> tuple[mx.array, mx.array]:
        x, table = embedding.EspnetRelPositionalEncoding.__call__(self, x, keys)
        return x, table[:, ::-1]

    return behaving(modules_at(pair, "flow.encoder.embed.pos_enc", "flow.encoder.up_embed.pos_enc"), reversed_table)


@fault(
    "upsample-linear", "Frames are interpolated linearly where the official code repeats them.", "flow.encoder.up_layer"
)
def upsample_linear(pair: Pair) -> Context:
    def interpolated(x: mx.array, count: int, axis: int) -> mx.array:
        after = mx.concatenate([x[:, 1:], x[:, -1:]], axis=1)
        parts = [x * (1 - part / count) + after * (part / count) for part in range(count)]
        return mx.stack(parts, axis=2).reshape(x.shape[0], -1, x.shape[2])

    return calling(encoder, "mx", repeat=interpolated)


@fault("upsample-tiled", "The whole sequence is repeated in place of each of its frames.", "flow.encoder.up_layer")
def upsample_tiled(pair: Pair) -> Context:
    return calling(encoder, "mx", repeat=lambda x, count, axis: mx.concatenate([x] * count, axis=axis))


@fault(
    "lookahead-slope",
    "The leaky ReLU of the lookahead layer has the vocoder's slope of 0.1.",
    "flow.encoder.pre_lookahead_layer",
)
def lookahead_slope(pair: Pair) -> Context:
    return calling(encoder, "functional", leaky_relu=lambda x, slope: nn.leaky_relu(x, 0.1))


@fault(
    "lookahead-residual",
    "The lookahead layer lacks its residual connection.",
    "flow.encoder.pre_lookahead_layer",
)
def lookahead_residual(pair: Pair) -> Context:
    def bare(self: Any, x: mx.array, context: mx.array | None, cache: Any = None) -> mx.array:
        return encoder.PreLookaheadLayer.__call__(self, x, context, cache) - x

    return behaving(modules_at(pair, "flow.encoder.pre_lookahead_layer"), bare)


@fault(
    "encoder-norm-epsilon",
    "The LayerNorms of the encoder's layers have the usual epsilon 1e-5 in place of 1e-12.",
    *(f"{layer}.{norm}" for layer in LAYERS for norm in ("norm_ff", "norm_mha")),
    kind="leaf",
)
def encoder_norm_epsilon(pair: Pair) -> Context:
    norms = (f"{layer}.{norm}" for layer in LAYERS for norm in ("norm_ff", "norm_mha"))
    return setting(modules_at(pair, *norms), eps=1e-5)


@fault("encoder-post-norm", "The layers normalize after attention in place of before it.", *LAYERS)
def encoder_post_norm(pair: Pair) -> Context:
    def post_norm(self: Any, x: mx.array, mask: mx.array | None, pos_emb: mx.array, cache: Any = None) -> mx.array:
        x = self.norm_mha(x + self.dropout(self.self_attn(x, mask, pos_emb, cache)))
        return self.norm_ff(x + self.dropout(self.feed_forward(x)))

    return behaving(modules_at(pair, *LAYERS), post_norm)


@fault("speaker-not-normalized", "The speaker embedding is not scaled to unit length.", "flow")
def speaker_not_normalized(pair: Pair) -> Context:
    return patched(flow, "normalized", lambda x: x)


@fault("prompt-mel-missing", "The prompt's mel is missing from the conditions.", "flow")
def prompt_mel_missing(pair: Pair) -> Context:
    original = flow.CausalMaskedDiffWithXvec.encode

    def encode(self: Any, *inputs: mx.array, streaming: bool, finalize: bool) -> tuple[mx.array, mx.array, mx.array]:
        mu, spks, cond = original(self, *inputs, streaming=streaming, finalize=finalize)
        return mu, spks, mx.zeros_like(cond)

    return patched(flow.CausalMaskedDiffWithXvec, "encode", encode)


@fault("prompt-token-order", "The prompt's tokens follow the new ones in place of preceding them.", "flow")
def prompt_token_order(pair: Pair) -> Context:
    def concatenate(arrays: list[mx.array], axis: int = 0) -> mx.array:
        return mx.concatenate(arrays[::-1], axis=axis)

    return calling(flow, "mx", concatenate=concatenate)


@fault("encoder-attention-unscaled", "The attention scores lack their scale.", *ATTENTIONS)
def attention_unscaled(pair: Pair) -> Context:
    class Unscaled:
        sqrt = staticmethod(lambda head_dim: 1.0)
        log = staticmethod(math.log)

    return patched(attention, "math", Unscaled)
