"""Mistakes in the flow's encoder and in what it hands to the decoder."""

from __future__ import annotations

from mlx_cosyvoice.flow import attention
from mlx_cosyvoice.flow.masked_diff import CausalMaskedDiff
from parity.faults.base import Mistakes, at, exchanged
from parity.faults.shared import UNIT_LENGTH, interpolated

LAYERS = ("flow.encoder.encoders.*", "flow.encoder.up_encoders.*")
NORMS = tuple(f"{layer}.{norm}" for layer in LAYERS for norm in ("norm_ff", "norm_mha"))
SELF_ATTENTIONS = tuple(f"{layer}.self_attn" for layer in LAYERS)
FLOW, STREAMED_FLOW = at("flow"), at("flow", streaming="official")
IN_CHUNKS = at("flow.encoder", streaming="official")
ATTENTIONS, BIASES = at(*SELF_ATTENTIONS), at(*SELF_ATTENTIONS, kind="weights")
POSITIONS = at("flow.encoder.embed.pos_enc", "flow.encoder.up_embed.pos_enc", kind="leaf")
UPSAMPLING, LOOKAHEAD = at("flow.encoder.up_layer"), at("flow.encoder.pre_lookahead_layer")
ENCODE = CausalMaskedDiff.encode

MISTAKES: Mistakes = {
    "encoder-mask: The chunk mask of streaming is dropped, so every token attends to all tokens.": IN_CHUNKS.edits(
        "streaming and cache is None", "False"
    ),
    "encoder-chunk-not-upsampled: After the upsampling the mask still counts 25 to a chunk, where there are 50 frames "
    "now.": IN_CHUNKS.sets(upsampling=1),
    "streaming-not-passed: `streaming` is not passed on to the encoder.": STREAMED_FLOW.edits(
        "streaming=streaming", "streaming=False", of=ENCODE
    ),
    "lookahead-context-dropped: The tokens held back for lookahead are cut off but not shown to the encoder.": (
        STREAMED_FLOW.edits("x[:, end:] if lookahead else None", "None", of=CausalMaskedDiff.features)
    ),
    "encoder-mask-value: Masked scores are set to zero before the softmax, which is no mask at all.": at(
        *SELF_ATTENTIONS, streaming="official"
    ).edits("mx.finfo(bias.dtype).min", "0.0"),
    "rel-shift-off-by-one: The relative shift is off by one position.": ATTENTIONS.edits(
        "p.swapaxes(-1, -2)", "mx.roll(p, 1, 2).swapaxes(-1, -2)"
    ),
    "rel-shift-missing: Scores by relative position are cut off in place of shifted.": ATTENTIONS.edits(
        "return rolled", "return scores[..., :length]\n    return rolled", of=attention.rel_shift
    ),
    "pos-bias-swapped: pos_bias_u and pos_bias_v are exchanged.": BIASES.by(
        lambda pair: exchanged(*(((one, "pos_bias_u"), (one, "pos_bias_v")) for one in BIASES.modules(pair)))
    ),
    "embedding-scale: The features are not multiplied by the root of the width before the positions.": POSITIONS.edits(
        "x * math.sqrt(self.width)", "x"
    ),
    "positions-reversed: The table of relative positions runs from past to future.": POSITIONS.edits(
        "middle + length]", "middle + length][:, ::-1]"
    ),
    "upsample-linear: Frames are interpolated linearly where the official code repeats them.": UPSAMPLING.edits(
        "mx.repeat", "interpolated", interpolated=interpolated
    ),
    "upsample-tiled: The whole sequence is repeated in place of each of its frames.": UPSAMPLING.edits(
        "mx.repeat(x, self.stride, axis=1)", "mx.concatenate([x] * self.stride, axis=1)"
    ),
    "lookahead-slope: The leaky ReLU of the lookahead layer has the vocoder's slope of 0.1.": LOOKAHEAD.edits(
        "0.01", "0.1"
    ),
    "lookahead-residual: The lookahead layer lacks its residual connection.": LOOKAHEAD.edits("cache)) + x", "cache))"),
    "encoder-norm-epsilon: The LayerNorms of the encoder's layers have the usual epsilon 1e-5 in place of 1e-12.": at(
        *NORMS, kind="leaf"
    ).sets(eps=1e-5),
    "encoder-post-norm: The layers normalize after attention in place of before it.": at(*LAYERS).edits(
        "x + self.dropout(self.self_attn(self.norm_mha(x), mask, pos_emb, cache))",
        "self.norm_mha(x + self.dropout(self.self_attn(x, mask, pos_emb, cache)))",
        "x + self.dropout(self.feed_forward(self.norm_ff(x)))",
        "self.norm_ff(x + self.dropout(self.feed_forward(x)))",
    ),
    "speaker-not-normalized: The speaker embedding is not scaled to unit length.": FLOW.edits(
        UNIT_LENGTH, "embedding", of=CausalMaskedDiff.speaker
    ),
    "prompt-mel-missing: The prompt's mel is missing from the conditions.": FLOW.edits(
        "prompt_feat[:, :frames]", "mx.zeros_like(prompt_feat[:, :frames])", of=CausalMaskedDiff.condition
    ),
    "prompt-token-order: The prompt's tokens follow the new ones in place of preceding them.": FLOW.edits(
        "[prompt_token.astype(mx.int32), token.astype(mx.int32)]",
        "[token.astype(mx.int32), prompt_token.astype(mx.int32)]",
        of=ENCODE,
    ),
    "encoder-attention-unscaled: The attention scores lack their scale.": ATTENTIONS.edits(
        "1 / math.sqrt(self.head_dim)", "1.0"
    ),
}
