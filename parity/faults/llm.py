"""Mistakes in the language model: Qwen2, the order of its input, and the sampler."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.llm import lm, qwen2, sampling
from mlx_cosyvoice.nn import functional
from parity.faults.base import Catalogue, behaving, calling, modules_at, patched, setting, without
from parity.pair import Pair

Context = AbstractContextManager[Any]

CATALOGUE = Catalogue("llm")
fault = CATALOGUE.add

BACKBONE = "llm.llm.model.model"
LAYER = f"{BACKBONE}.layers.*"
ATTENTION = f"{LAYER}.self_attn"


@fault("rope-base", "The rotary base is 10000 in place of the configured 1e6.", f"{BACKBONE}.rotary_emb", kind="leaf")
def rope_base(pair: Pair) -> Context:
    (rotary,) = modules_at(pair, f"{BACKBONE}.rotary_emb")
    count = len(rotary.frequencies)
    return setting([rotary], frequencies=(1 / 10000 ** (np.arange(count) / count)).astype(np.float32))


@fault("rope-pairing", "Rotary positions turn neighbors (2i, 2i + 1), where Qwen2 turns (i, i + half).", ATTENTION)
def rope_pairing(pair: Pair) -> Context:
    def neighbors(x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
        half = x.shape[-1] // 2
        cos, sin = cos[:, None, :, :half], sin[:, None, :, :half]
        even, odd = x[..., ::2], x[..., 1::2]
        return mx.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)

    return patched(qwen2, "rotate", neighbors)


@fault("rope-sign", "Rotary positions turn the other way round.", ATTENTION)
def rope_sign(pair: Pair) -> Context:
    original = qwen2.rotate
    return patched(qwen2, "rotate", lambda x, cos, sin: original(x, cos, -sin))


@fault("rope-offset", "Every step of the generation starts at position 0.", BACKBONE)
def rope_offset(pair: Pair) -> Context:
    def from_zero(self: Any, x: mx.array, cache: Any) -> mx.array:
        rotary = self.rotary_emb(0, x.shape[1])
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            x = layer(x, rotary, layer_cache)
        return self.norm(x)

    return behaving(modules_at(pair, BACKBONE), from_zero)


@fault(
    "qkv-bias",
    "The projections to queries, keys and values are built without their biases.",
    *(f"{ATTENTION}.{name}_proj" for name in "qkv"),
    kind="leaf",
)
def qkv_bias(pair: Pair) -> Context:
    return without(modules_at(pair, *(f"{ATTENTION}.{name}_proj" for name in "qkv")), "bias")


def _attending(**changes: Any) -> Context:
    """Another attention for the Qwen2 layers; `changes` get the arrays and return what is passed on."""
    original = functional.attention

    def attention(q: mx.array, blocks: Sequence[functional.Block], *, scale: float, mask: Any) -> mx.array:
        heads = changes.get("heads", lambda x, count: x)
        mask = changes.get("mask", lambda mask: mask)(mask)
        scale = changes.get("scale", lambda scale: scale)(scale)
        blocks = [(heads(k, q.shape[1]), heads(v, q.shape[1])) for k, v in blocks]
        return original(q, blocks, scale=scale, mask=mask)

    return calling(qwen2, "functional", attention=attention)


@fault("kv-head-order", "Keys and values are tiled over the heads (0 1 0 1) in place of repeated (0 0 1 1).", ATTENTION)
def kv_head_order(pair: Pair) -> Context:
    return _attending(heads=lambda x, count: mx.tile(x, (1, count // x.shape[1], 1, 1)))


@fault("causal-mask", "The prompt attends to all of itself, without the causal mask.", ATTENTION)
def causal_mask(pair: Pair) -> Context:
    return _attending(mask=lambda mask: None)


@fault("llm-attention-scale", "The attention scores are not scaled.", ATTENTION)
def attention_scale(pair: Pair) -> Context:
    return _attending(scale=lambda scale: 1.0)


@fault(
    "rms-norm-epsilon",
    "The RMSNorms have MLX's default epsilon 1e-5 in place of 1e-6.",
    f"{LAYER}.input_layernorm",
    f"{LAYER}.post_attention_layernorm",
    f"{BACKBONE}.norm",
    kind="leaf",
)
def rms_norm_epsilon(pair: Pair) -> Context:
    norms = (f"{LAYER}.input_layernorm", f"{LAYER}.post_attention_layernorm", f"{BACKBONE}.norm")
    return setting(modules_at(pair, *norms), eps=1e-5)


@fault("gate-and-up", "The activation is put on the up projection, not on the gate.", f"{LAYER}.mlp")
def gate_and_up(pair: Pair) -> Context:
    def exchanged(self: Any, x: mx.array) -> mx.array:
        return self.down_proj(self.gate_proj(x) * self.act_fn(self.up_proj(x)))

    return behaving(modules_at(pair, f"{LAYER}.mlp"), exchanged)


@fault("mlp-gelu", "The feed-forward has GELU for SiLU.", f"{LAYER}.mlp.act_fn", kind="leaf")
def mlp_gelu(pair: Pair) -> Context:
    return behaving(modules_at(pair, f"{LAYER}.mlp.act_fn"), lambda self, x: nn.gelu(x))


@fault("final-norm", "The hidden states are not normalized before the speech head.", BACKBONE)
def final_norm(pair: Pair) -> Context:
    def unnormalized(self: Any, x: mx.array, cache: Any) -> mx.array:
        rotary = self.rotary_emb(cache.offset, x.shape[1])
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            x = layer(x, rotary, layer_cache)
        return x

    return behaving(modules_at(pair, BACKBONE), unnormalized)


@fault("sos-and-task", "The start and the task embedding are exchanged.", "llm")
def sos_and_task(pair: Pair) -> Context:
    def row(index: int) -> property:
        return property(lambda self: self.llm_embedding(mx.array([[index]])))

    return mock.patch.multiple(lm.Qwen2LM, sos=row(1), task_id=row(0))


@fault("prompt-text-order", "The text to speak is put before the prompt's transcript.", "llm")
def prompt_text_order(pair: Pair) -> Context:
    original = lm.Qwen2LM.prompt
    return patched(
        lm.Qwen2LM, "prompt", lambda self, text, prompt_text, speech: original(self, prompt_text, text, speech)
    )


@fault("speech-embedding-table", "Prompt speech is looked up in the text embedding.", "llm")
def speech_embedding_table(pair: Pair) -> Context:
    def wrong_table(self: Any, ids: list[int]) -> mx.array:
        return self.llm.model.model.embed_tokens(mx.array([ids]) % self.config.qwen.vocab_size)

    return patched(lm.Qwen2LM, "embed_speech", wrong_table)


@fault("last-position", "The next token is predicted from the first position in place of the last.", "llm")
def last_position(pair: Pair) -> Context:
    def first(self: Any, x: mx.array, cache: Any) -> mx.array:
        logits = self.llm_decoder(self.llm(x, cache)[:, 0])
        return logits - mx.logsumexp(logits, axis=-1, keepdims=True)

    return patched(lm.Qwen2LM, "step", first)


@fault("logits-not-normalized", "Logits are handed on as if they were log-probabilities.", "llm")
def logits_not_normalized(pair: Pair) -> Context:
    return calling(lm, "mx", logsumexp=lambda logits, axis, keepdims: mx.zeros((logits.shape[0], 1)))


@fault("nucleus-order", "The sampler sorts by rising probability.", "llm")
def nucleus_order(pair: Pair) -> Context:
    original = sampling._likeliest
    return patched(sampling, "_likeliest", lambda scores, count: original(scores, len(scores))[::-1][:count])


@fault("nucleus-off-by-one", "The sampler leaves out the token that crosses top_p, and keeps 24 of 25.", "llm")
def nucleus_off_by_one(pair: Pair) -> Context:
    original = sampling.RASSampler.nucleus

    def one_less(self: Any, scores: Any) -> tuple[Any, Any]:
        ids, weights = original(self, scores)
        kept = max(int((weights > 0).sum()) - 1, 1)
        return ids[:kept], weights[:kept]

    return patched(sampling.RASSampler, "nucleus", one_less)


@fault("sampler-exchange", "In 1 % of its draws the sampler exchanges two of the 20 likeliest ids.", "llm")
def sampler_exchange(pair: Pair) -> Context:
    original, random = sampling.RASSampler.nucleus, np.random.default_rng(0)

    def exchanged(self: Any, scores: Any) -> tuple[Any, Any]:
        ids, weights = original(self, scores)
        likely = min(20, int((weights > 0).sum()))
        if likely > 1 and random.random() < 0.01:
            pair_of_places = random.choice(likely, 2, replace=False)
            ids[pair_of_places] = ids[pair_of_places[::-1]]
        return ids, weights

    return patched(sampling.RASSampler, "nucleus", exchanged)
