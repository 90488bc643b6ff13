"""Mistakes in the speech tokenizer."""

from __future__ import annotations

from mlx_cosyvoice.speech_tokenizer import encoder, quantizer
from parity.faults.base import Mistakes, at
from parity.faults.shared import activation, neighbors_turned

BLOCK = "speech_tokenizer.encoder.blocks.*"
ATTENTION, ENCODER = at(f"{BLOCK}.attn"), at("speech_tokenizer.encoder")
CODEBOOK = at("speech_tokenizer.quantizer._codebook")
CODES = CODEBOOK.of(quantizer.codes)

MISTAKES: Mistakes = {
    "fsmn-padding: The FSMN memory is padded on the left only, as if it were causal.": at(
        f"{BLOCK}.attn.pad_fn", kind="leaf"
    ).sets(padding=(encoder.FSMN_KERNEL - 1, 0)),
    "fsmn-residual: The FSMN memory lacks the values themselves.": ATTENTION.edits(
        "self.pad_fn(value)) + value", "self.pad_fn(value))"
    ),
    "fsmn-kernel-reversed: The FSMN kernel is reversed in time.": at(f"{BLOCK}.attn.fsmn_block", kind="weights").sets(
        weight=lambda weight: weight[:, ::-1]
    ),
    "tokenizer-rope-pairing: Rotary positions turn neighbors, where the official ones turn halves.": ATTENTION.wraps(
        encoder, "rotate", neighbors_turned
    ),
    "tokenizer-rope-base: The rotary positions have the language model's base of 1e6.": ENCODER.patches(
        encoder, "ROPE_THETA", 1e6
    ),
    "tokenizer-norm-epsilon: Both norms of a block have the same epsilon.": at(f"{BLOCK}.attn_ln", kind="leaf").sets(
        eps=1e-5
    ),
    "tokenizer-gelu-tanh: GELU is the tanh approximation.": at(f"{BLOCK}.mlp.1", kind="leaf").edits(
        *activation("gelu_tanh")
    ),
    "tokenizer-conv-gelu: The activation after the second convolution is missing.": ENCODER.edits(
        "functional.gelu(self.conv2(", "(self.conv2("
    ),
    "tokenizer-key-bias: The key projection has a bias (the query's), which the official one lacks.": at(
        f"{BLOCK}.attn.key", kind="leaf"
    ).behaves(lambda self, x: self(x) + 0.1),
    "fsq-rounding: Values are cut off in place of rounded to the nearest digit.": CODES.edits("mx.round(", "mx.floor("),
    "fsq-base-order: The first digit of a token is taken for the highest.": CODES.edits(
        "LEVELS**place", "LEVELS ** (DIGITS - 1 - place)"
    ),
    "fsq-levels: Digits are counted from -1 in place of 0.": CODES.edits("astype(mx.int32) + 1", "astype(mx.int32)"),
    "fsq-tanh: The quantizer's values lack their tanh.": CODEBOOK.edits("mx.tanh(", "("),
}
