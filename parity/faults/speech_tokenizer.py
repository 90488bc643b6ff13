"""Mistakes in the speech tokenizer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.nn import GELU
from mlx_cosyvoice.speech_tokenizer import encoder, quantizer, tokenizer
from parity.faults.base import Catalogue, behaving, calling, modules_at, patched, setting
from parity.pair import Pair

Context = AbstractContextManager[Any]

CATALOGUE = Catalogue("speech_tokenizer")
fault = CATALOGUE.add

BLOCK = "speech_tokenizer.encoder.blocks.*"
CODEBOOK = "speech_tokenizer.quantizer._codebook"


@fault(
    "fsmn-padding",
    "The FSMN memory is padded on the left only, as if it were causal.",
    f"{BLOCK}.attn.pad_fn",
    kind="leaf",
)
def fsmn_padding(pair: Pair) -> Context:
    return setting(modules_at(pair, f"{BLOCK}.attn.pad_fn"), padding=(encoder.FSMN_KERNEL - 1, 0))


@fault("fsmn-residual", "The FSMN memory lacks the values themselves.", f"{BLOCK}.attn")
def fsmn_residual(pair: Pair) -> Context:
    original = encoder.FSMNMultiHeadAttention.__call__

    def without_values(self: Any, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
        return original(self, x, cos, sin) - self.value(x)  # runs `value` a second time

    return behaving(modules_at(pair, f"{BLOCK}.attn"), without_values)


@fault("fsmn-kernel-reversed", "The FSMN kernel is reversed in time.", f"{BLOCK}.attn.fsmn_block", kind="weights")
def fsmn_reversed(pair: Pair) -> Context:
    return setting(modules_at(pair, f"{BLOCK}.attn.fsmn_block"), weight=lambda weight: weight[:, ::-1])


@fault(
    "tokenizer-rope-pairing", "Rotary positions turn neighbors, where the official ones turn halves.", f"{BLOCK}.attn"
)
def rope_pairing(pair: Pair) -> Context:
    def neighbors(x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
        half = x.shape[-1] // 2
        cos, sin = cos[..., :half], sin[..., :half]
        even, odd = x[..., ::2], x[..., 1::2]
        turned = mx.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
        return turned.reshape(x.shape)

    return patched(encoder, "rotate", neighbors)


@fault("tokenizer-rope-base", "The rotary positions have the language model's base of 1e6.", "speech_tokenizer.encoder")
def rope_base(pair: Pair) -> Context:
    return patched(encoder, "ROPE_THETA", 1e6)


@fault("tokenizer-norm-epsilon", "Both norms of a block have the same epsilon.", f"{BLOCK}.attn_ln", kind="leaf")
def norm_epsilon(pair: Pair) -> Context:
    return setting(modules_at(pair, f"{BLOCK}.attn_ln"), eps=1e-5)


@fault("tokenizer-gelu-tanh", "GELU is the tanh approximation.", f"{BLOCK}.mlp.1", kind="leaf")
def gelu_tanh(pair: Pair) -> Context:
    return behaving(modules_at(pair, f"{BLOCK}.mlp.1"), lambda self, x: nn.gelu_approx(x))


@fault("tokenizer-conv-gelu", "The activation after the second convolution is missing.", "speech_tokenizer.encoder")
def conv_gelu(pair: Pair) -> Context:
    def once(self: Any, log_mel: mx.array) -> mx.array:
        x = self.conv2(GELU()(self.conv1(log_mel)))
        cos, sin = encoder.rotary_table(x.shape[1], self.head_dim)
        for block in self.blocks:
            x = block(x, cos, sin)
        return x

    return behaving(modules_at(pair, "speech_tokenizer.encoder"), once)


@fault(
    "tokenizer-key-bias",
    "The key projection has a bias (the query's), which the official one lacks.",
    f"{BLOCK}.attn.key",
    kind="leaf",
)
def key_bias(pair: Pair) -> Context:
    original = type(modules_at(pair, f"{BLOCK}.attn.key")[0]).__call__
    return behaving(modules_at(pair, f"{BLOCK}.attn.key"), lambda self, x: original(self, x) + 0.1)


@fault("fsq-rounding", "Values are cut off in place of rounded to the nearest digit.", CODEBOOK)
def fsq_rounding(pair: Pair) -> Context:
    return calling(quantizer, "mx", round=mx.floor)


@fault("fsq-base-order", "The first digit of a token is taken for the highest.", CODEBOOK)
def fsq_base_order(pair: Pair) -> Context:
    original = quantizer.codes
    return patched(tokenizer, "codes", lambda values: original(values[..., ::-1]))


@fault("fsq-levels", "Digits are counted from -1 in place of 0.", CODEBOOK)
def fsq_levels(pair: Pair) -> Context:
    shift = sum(quantizer.LEVELS**place for place in range(quantizer.DIGITS))
    original = quantizer.codes
    return patched(tokenizer, "codes", lambda values: original(values) - shift)


@fault("fsq-tanh", "The quantizer's values lack their tanh.", CODEBOOK)
def fsq_tanh(pair: Pair) -> Context:
    return calling(quantizer, "mx", tanh=lambda x: x)
