"""Mistakes in the language model: Qwen2, the order of its input, and the sampler."""

from __future__ import annotations

from typing import Any
from unittest import mock

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.llm import lm, qwen2, sampling
from mlx_cosyvoice.nn import functional
from parity.faults.base import Catalogue, Context, patched, without
from parity.pair import Pair

CATALOGUE = Catalogue("llm")
at = CATALOGUE.at

LLM, BACKBONE = at("llm"), at("llm.llm.model.model")
LAYER = "llm.llm.model.model.layers.*"
ATTENTION = at(f"{LAYER}.self_attn")
QKV = at(*(f"{LAYER}.self_attn.{name}_proj" for name in "qkv"), kind="weights")

at("llm.llm.model.model.rotary_emb", kind="leaf").setting(
    "rope-base",
    "The rotary base is 10000 in place of the configured 1e6.",
    frequencies=lambda own: (1 / 10000 ** (np.arange(len(own)) / len(own))).astype(np.float32),
)


@ATTENTION.wrapping(qwen2, "rotate")
def rope_pairing(original: Any, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """Rotary positions turn neighbors (2i, 2i + 1), where Qwen2 turns (i, i + half)."""
    half = x.shape[-1] // 2
    return neighbors_turned(x, cos[:, None, :, :half], sin[:, None, :, :half])


def neighbors_turned(x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """Rotary positions of pairs that lie side by side."""
    even, odd = x[..., ::2], x[..., 1::2]
    return mx.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)


@ATTENTION.wrapping(qwen2, "rotate")
def rope_sign(original: Any, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """Rotary positions turn the other way round."""
    return original(x, cos, -sin)


@BACKBONE.behaving
def rope_offset(self: Any, x: mx.array, cache: Any) -> mx.array:
    """Every step of the generation starts at position 0."""
    return self.norm(_through_layers(self, x, cache, 0))


def _through_layers(backbone: Any, x: mx.array, cache: Any, offset: int) -> mx.array:
    rotary = backbone.rotary_emb(offset, x.shape[1])
    for layer, layer_cache in zip(backbone.layers, cache.layers, strict=True):
        x = layer(x, rotary, layer_cache)
    return x


@QKV.switching
def qkv_bias(pair: Pair) -> Context:
    """The projections to queries, keys and values are built without their biases."""
    return without(QKV.modules(pair), "bias")


def _attending(name: str, mistake: str, change: Any) -> None:
    """A fault in which the attention of Qwen2's layers gets what `change` makes of keys and values and its options."""
    original = functional.attention

    def attention(q: mx.array, blocks: Any, **options: Any) -> mx.array:
        blocks, changed = change(q, blocks)
        return original(q, blocks, **{**options, **changed})

    ATTENTION.calling(name, mistake, qwen2, "functional", attention=attention)


def _tiled(q: mx.array, blocks: Any) -> tuple[Any, dict[str, Any]]:
    return [[mx.tile(x, (1, q.shape[1] // x.shape[1], 1, 1)) for x in block] for block in blocks], {}


_attending(
    "kv-head-order", "Keys and values are tiled over the heads (0 1 0 1) in place of repeated (0 0 1 1).", _tiled
)
_attending(
    "causal-mask",
    "The prompt attends to all of itself, without the causal mask.",
    lambda q, blocks: (blocks, {"mask": None}),
)
_attending("llm-attention-scale", "The attention scores are not scaled.", lambda q, blocks: (blocks, {"scale": 1.0}))
at(f"{LAYER}.input_layernorm", f"{LAYER}.post_attention_layernorm", "llm.llm.model.model.norm", kind="leaf").setting(
    "rms-norm-epsilon", "The RMSNorms have MLX's default epsilon 1e-5 in place of 1e-6.", eps=1e-5
)


@at(f"{LAYER}.mlp").behaving
def gate_and_up(self: Any, x: mx.array) -> mx.array:
    """The activation is put on the up projection, not on the gate."""
    return self.down_proj(self.gate_proj(x) * self.act_fn(self.up_proj(x)))


@at(f"{LAYER}.mlp.act_fn", kind="leaf").behaving
def mlp_gelu(self: Any, x: mx.array) -> mx.array:
    """The feed-forward has GELU for SiLU."""
    return nn.gelu(x)


@BACKBONE.behaving
def final_norm(self: Any, x: mx.array, cache: Any) -> mx.array:
    """The hidden states are not normalized before the speech head."""
    return _through_layers(self, x, cache, cache.offset)


@LLM.switching
def sos_and_task(pair: Pair) -> Context:
    """The start and the task embedding are exchanged."""

    def row(index: int) -> property:
        return property(lambda self: self.llm_embedding(mx.array([[index]])))

    return mock.patch.multiple(lm.Qwen2LM, sos=row(1), task_id=row(0))


@LLM.wrapping(lm.Qwen2LM, "prompt")
def prompt_text_order(original: Any, self: Any, text: Any, prompt_text: Any, speech: Any) -> mx.array:
    """The text to speak is put before the prompt's transcript."""
    return original(self, prompt_text, text, speech)


@LLM.wrapping(lm.Qwen2LM, "embed_speech")
def speech_embedding_table(original: Any, self: Any, ids: list[int]) -> mx.array:
    """Prompt speech is looked up in the text embedding."""
    return self.llm.model.model.embed_tokens(mx.array([ids]) % self.config.qwen.vocab_size)


@LLM.wrapping(lm.Qwen2LM, "step")
def last_position(original: Any, self: Any, x: mx.array, cache: Any) -> mx.array:
    """The next token is predicted from the first position in place of the last."""
    logits = self.llm_decoder(self.llm(x, cache)[:, 0])
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


LLM.calling(
    "logits-not-normalized",
    "Logits are handed on as if they were log-probabilities.",
    lm,
    "mx",
    logsumexp=lambda logits, axis, keepdims: mx.zeros((logits.shape[0], 1)),
)


@LLM.wrapping(sampling, "_likeliest")
def nucleus_order(original: Any, scores: Any, count: int) -> Any:
    """The sampler sorts by rising probability."""
    return original(scores, len(scores))[::-1][:count]


@LLM.wrapping(sampling.RASSampler, "nucleus")
def nucleus_off_by_one(original: Any, self: Any, scores: Any) -> tuple[Any, Any]:
    """The sampler leaves out the token that crosses top_p, and keeps 24 of 25."""
    ids, weights = original(self, scores)
    kept = max(int((weights > 0).sum()) - 1, 1)
    return ids[:kept], weights[:kept]


@LLM.switching
def sampler_exchange(pair: Pair) -> Context:
    """In 1 % of its draws the sampler exchanges two of the 20 likeliest ids."""
    original, random = sampling.RASSampler.nucleus, np.random.default_rng(0)

    def exchanged(self: Any, scores: Any) -> tuple[Any, Any]:
        ids, weights = original(self, scores)
        likely = min(20, int((weights > 0).sum()))
        if likely > 1 and random.random() < 0.01:
            pair_of_places = random.choice(likely, 2, replace=False)
            ids[pair_of_places] = ids[pair_of_places[::-1]]
        return ids, weights

    return patched(sampling.RASSampler, "nucleus", exchanged)


@at("llm.prefill_prefix").wrapping(lm.Qwen2LM, "prefill_prefix")
def prefix_order(original: Any, self: Any, prompt_text: Any) -> Any:
    """What all utterances of a voice begin with is run in the wrong order."""
    return original(self, prompt_text[::-1])
