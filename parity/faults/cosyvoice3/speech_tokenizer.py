"""Mistakes in speech tokenizer v3, which is v2 but deeper, with another epsilon, in a graph of an older opset."""

from __future__ import annotations

import mlx.core as mx

from mlx_cosyvoice.speech_tokenizer import encoder, quantizer
from parity.faults.base import Mistakes, at
from parity.faults.shared import activation, neighbors_turned

BLOCK = "speech_tokenizer.encoder.blocks.*"
ENCODER, BLOCKS, ATTENTION = at("speech_tokenizer.encoder"), at(BLOCK), at(f"{BLOCK}.attn")
CODES = at("speech_tokenizer.quantizer._codebook").of(quantizer.codes)

MISTAKES: Mistakes = {
    "v3-norm-epsilon: The norms before attention have the epsilon of v2, 1e-6.": at(
        f"{BLOCK}.attn_ln", kind="leaf"
    ).sets(eps=1e-6),
    "v3-norm-without-gain: The gain of a norm, which opset 16 multiplies by in a node of its own, is not found and "
    "stays 1.": at(f"{BLOCK}.attn_ln", kind="weights").sets(weight=mx.ones_like),
    "v3-norm-bias-shifted: The bias of a norm is read from the wrong Add of the decomposed norm: the epsilon's.": at(
        f"{BLOCK}.mlp_ln", kind="weights"
    ).sets(bias=lambda own: mx.full(own.shape, 1e-5, own.dtype)),
    "v3-matmul-not-transposed: The weight of a MatMul, [in, out], is taken as that of a Linear.": at(
        f"{BLOCK}.attn.query", kind="weights"
    ).sets(weight=lambda own: own.T),
    "v3-half-depth: Only as many blocks as v2 has are run: half of them.": ENCODER.edits(
        "in self.blocks", "in self.blocks[: len(self.blocks) // 2]"
    ),
    "v3-blocks-reversed: The blocks are run from the last to the first: their names were sorted as words, "
    "descending.": (ENCODER.edits("in self.blocks", "in self.blocks[::-1]")),
    "v3-neighbors-turned: Rotary positions turn neighbors, as CosyVoice3's flow does, where the tokenizer turns "
    "halves.": (ATTENTION.wraps(encoder, "rotate", neighbors_turned)),
    "v3-first-head-turned: Rotary positions turn the first head alone, as in CosyVoice3's flow.": ATTENTION.edits(
        "query, key, value = (",
        "first = mx.arange(self.heads)[:, None, None] == 0\n"
        "    cos, sin = mx.where(first, cos, 1.0), mx.where(first, sin, 0.0)\n"
        "    query, key, value = (",
    ),
    "v3-fsmn-causal: The FSMN memory sees the past alone.": at(f"{BLOCK}.attn.pad_fn", kind="leaf").sets(
        padding=(encoder.FSMN_KERNEL - 1, 0)
    ),
    "v3-fsmn-of-input: The FSMN memory is added before the output projection.": ATTENTION.edits(
        "flatten(2)) + memory", "flatten(2) + memory)"
    ),
    "v3-one-norm: The feed-forward reads what the attention read: both sub-layers stand side by side.": BLOCKS.edits(
        "x = x + ", "before, x = x, x + ", "self.mlp_ln(x)", "self.mlp_ln(before)"
    ),
    "v3-post-norm: The sub-layers are normalized after the residual, not before.": BLOCKS.edits(
        "x + self.attn(self.attn_ln(x), cos, sin)",
        "self.attn_ln(x + self.attn(x, cos, sin))",
        "x + self.mlp(self.mlp_ln(x))",
        "self.mlp_ln(x + self.mlp(x))",
    ),
    "v3-first-digit-highest: The first digit of a token is taken for the highest.": CODES.edits(
        "LEVELS**place", "LEVELS ** (DIGITS - 1 - place)"
    ),
    "v3-six-digits: Tokens have six digits, as a codebook of 729 would.": CODES.edits(
        "LEVELS**place", "LEVELS**place * (place < 6)"
    ),
    "v3-gelu-tanh: GELU is the tanh approximation, as in CosyVoice3's flow.": at(f"{BLOCK}.mlp.1", kind="leaf").edits(
        *activation("gelu_tanh")
    ),
}
