"""Mistakes in speech tokenizer v3, which is v2 but deeper, with another epsilon, in a graph of an older opset."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.nn import functional
from mlx_cosyvoice.speech_tokenizer import encoder, tokenizer
from parity.faults.base import Catalogue
from parity.faults.cosyvoice2.llm import neighbors_turned

CATALOGUE = Catalogue("speech_tokenizer")
at = CATALOGUE.at

BLOCK = "speech_tokenizer.encoder.blocks.*"
ENCODER, BLOCKS, ATTENTION = at("speech_tokenizer.encoder"), at(BLOCK), at(f"{BLOCK}.attn")
CODEBOOK = at("speech_tokenizer.quantizer._codebook")

at(f"{BLOCK}.attn_ln", kind="leaf").setting(
    "v3-norm-epsilon", "The norms before attention have the epsilon of v2, 1e-6.", eps=1e-6
)
at(f"{BLOCK}.attn_ln", kind="weights").setting(
    "v3-norm-without-gain",
    "The gain of a norm, which opset 16 multiplies by in a node of its own, is not found and stays 1.",
    weight=mx.ones_like,
)
at(f"{BLOCK}.mlp_ln", kind="weights").setting(
    "v3-norm-bias-shifted",
    "The bias of a norm is read from the wrong Add of the decomposed norm: the epsilon's.",
    bias=lambda own: mx.full(own.shape, 1e-5, own.dtype),
)
at(f"{BLOCK}.attn.query", kind="weights").setting(
    "v3-matmul-not-transposed",
    "The weight of a MatMul, [in, out], is taken as that of a Linear.",
    weight=lambda own: own.T,
)


@ENCODER.behaving
def v3_half_depth(self: Any, log_mel: mx.array) -> mx.array:
    """Only as many blocks as v2 has are run: half of them."""
    blocks = self.blocks
    try:
        self.blocks = blocks[: len(blocks) // 2]
        return self(log_mel)
    finally:
        self.blocks = blocks


@ENCODER.behaving
def v3_blocks_reversed(self: Any, log_mel: mx.array) -> mx.array:
    """The blocks are run from the last to the first: their names were sorted as words, descending."""
    blocks = self.blocks
    try:
        self.blocks = blocks[::-1]
        return self(log_mel)
    finally:
        self.blocks = blocks


@ATTENTION.wrapping(encoder, "rotate")
def v3_neighbors_turned(original: Any, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """Rotary positions turn neighbors, as CosyVoice3's flow does, where the tokenizer turns halves."""
    half = x.shape[-1] // 2
    return neighbors_turned(x, cos[..., :half], sin[..., :half])


@ATTENTION.behaving
def v3_first_head_turned(self: Any, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """Rotary positions turn the first head alone, as in CosyVoice3's flow."""
    first = mx.arange(self.heads)[None, :, None, None] == 0
    return self(x, mx.where(first, cos, 1.0), mx.where(first, sin, 0.0))


at(f"{BLOCK}.attn.pad_fn", kind="leaf").setting(
    "v3-fsmn-causal", "The FSMN memory sees the past alone.", padding=(encoder.FSMN_KERNEL - 1, 0)
)


@ATTENTION.behaving
def v3_fsmn_of_input(self: Any, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """The FSMN memory is added before the output projection."""
    value = self.value(x)
    memory = self.fsmn_block(self.pad_fn(value)) + value
    parts = (mx.unflatten(part, 2, (self.heads, -1)).swapaxes(1, 2) for part in (self.query(x), self.key(x), value))
    query, key, value = parts
    keys = [(encoder.rotate(key, cos, sin), value)]
    attended = functional.attention(encoder.rotate(query, cos, sin), keys, scale=query.shape[3] ** -0.5)
    return self.out(attended.swapaxes(1, 2).flatten(2) + memory)


@BLOCKS.behaving
def v3_one_norm(self: Any, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """The feed-forward reads what the attention read: both sub-layers stand side by side."""
    normed = self.attn_ln(x)
    return x + self.attn(normed, cos, sin) + self.mlp(self.mlp_ln(x))


@BLOCKS.behaving
def v3_post_norm(self: Any, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """The sub-layers are normalized after the residual, not before."""
    x = self.attn_ln(x + self.attn(x, cos, sin))
    return self.mlp_ln(x + self.mlp(x))


@CODEBOOK.wrapping(tokenizer, "codes")
def v3_first_digit_highest(original: Any, values: mx.array) -> mx.array:
    """The first digit of a token is taken for the highest."""
    return original(values[..., ::-1])


@CODEBOOK.wrapping(tokenizer, "codes")
def v3_six_digits(original: Any, values: mx.array) -> mx.array:
    """Tokens have six digits, as a codebook of 729 would."""
    return original(mx.concatenate([values[..., :6], -mx.ones_like(values[..., 6:])], axis=-1))


@at(f"{BLOCK}.mlp.1", kind="leaf").behaving
def v3_gelu_tanh(self: Any, x: mx.array) -> mx.array:
    """GELU is the tanh approximation, as in CosyVoice3's flow."""
    return nn.gelu_approx(x)
