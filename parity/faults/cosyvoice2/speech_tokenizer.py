"""Mistakes in the speech tokenizer."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.nn import GELU
from mlx_cosyvoice.speech_tokenizer import encoder, quantizer, tokenizer
from parity.faults.base import Catalogue
from parity.faults.cosyvoice2.llm import neighbors_turned

CATALOGUE = Catalogue("speech_tokenizer")
at = CATALOGUE.at

BLOCK = "speech_tokenizer.encoder.blocks.*"
ATTENTION, ENCODER = at(f"{BLOCK}.attn"), at("speech_tokenizer.encoder")
CODEBOOK = at("speech_tokenizer.quantizer._codebook")

at(f"{BLOCK}.attn.pad_fn", kind="leaf").setting(
    "fsmn-padding",
    "The FSMN memory is padded on the left only, as if it were causal.",
    padding=(encoder.FSMN_KERNEL - 1, 0),
)


@ATTENTION.behaving
def fsmn_residual(self: Any, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """The FSMN memory lacks the values themselves."""
    return self(x, cos, sin) - self.value(x)  # runs `value` a second time


at(f"{BLOCK}.attn.fsmn_block", kind="weights").setting(
    "fsmn-kernel-reversed", "The FSMN kernel is reversed in time.", weight=lambda weight: weight[:, ::-1]
)


@ATTENTION.wrapping(encoder, "rotate")
def tokenizer_rope_pairing(original: Any, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """Rotary positions turn neighbors, where the official ones turn halves."""
    half = x.shape[-1] // 2
    return neighbors_turned(x, cos[..., :half], sin[..., :half])


ENCODER.patching(
    "tokenizer-rope-base", "The rotary positions have the language model's base of 1e6.", encoder, "ROPE_THETA", 1e6
)
at(f"{BLOCK}.attn_ln", kind="leaf").setting(
    "tokenizer-norm-epsilon", "Both norms of a block have the same epsilon.", eps=1e-5
)


@at(f"{BLOCK}.mlp.1", kind="leaf").behaving
def tokenizer_gelu_tanh(self: Any, x: mx.array) -> mx.array:
    """GELU is the tanh approximation."""
    return nn.gelu_approx(x)


@ENCODER.behaving
def tokenizer_conv_gelu(self: Any, log_mel: mx.array) -> mx.array:
    """The activation after the second convolution is missing."""
    x = self.conv2(GELU()(self.conv1(log_mel)))
    cos, sin = encoder.rotary_table(x.shape[1], self.head_dim)
    for block in self.blocks:
        x = block(x, cos, sin)
    return x


@at(f"{BLOCK}.attn.key", kind="leaf").behaving
def tokenizer_key_bias(self: Any, x: mx.array) -> mx.array:
    """The key projection has a bias (the query's), which the official one lacks."""
    return self(x) + 0.1


CODEBOOK.calling(
    "fsq-rounding", "Values are cut off in place of rounded to the nearest digit.", quantizer, "mx", round=mx.floor
)


@CODEBOOK.wrapping(tokenizer, "codes")
def fsq_base_order(original: Any, values: mx.array) -> mx.array:
    """The first digit of a token is taken for the highest."""
    return original(values[..., ::-1])


@CODEBOOK.wrapping(tokenizer, "codes")
def fsq_levels(original: Any, values: mx.array) -> mx.array:
    """Digits are counted from -1 in place of 0."""
    return original(values) - sum(quantizer.LEVELS**place for place in range(quantizer.DIGITS))


CODEBOOK.calling("fsq-tanh", "The quantizer's values lack their tanh.", quantizer, "mx", tanh=lambda x: x)
