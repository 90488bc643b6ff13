"""Mistakes in the language model: Qwen2, the order of its input, the sampler, and the loop that generates."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlx_cosyvoice.llm import bistream, drawing, lm, qwen2, sampling
from parity.faults.base import Context, Mistakes, at, patched, without
from parity.faults.shared import FRAME, activation, neighbors_turned
from parity.pair import Pair

LLM, BACKBONE = at("llm"), at("llm.llm.model.model")
LAYER = "llm.llm.model.model.layers.*"
ATTENTION, MLP = at(f"{LAYER}.self_attn"), at(f"{LAYER}.mlp")
QKV = at(*(f"{LAYER}.self_attn.{name}_proj" for name in "qkv"), kind="weights")
NORMS = at(f"{LAYER}.input_layernorm", f"{LAYER}.post_attention_layernorm", "llm.llm.model.model.norm", kind="leaf")
STEP, NUCLEUS = LLM.of(lm.SpeechLM.step), sampling.RASSampler.nucleus


def _exchanging(pair: Pair) -> Context:
    random = np.random.default_rng(0)

    def exchanged(self: Any, scores: Any, original: Any = NUCLEUS) -> tuple[Any, Any]:
        ids, weights = original(self, scores)
        likely = min(20, int((weights > 0).sum()))
        if likely > 1 and random.random() < 0.01:
            pair_of_places = random.choice(likely, 2, replace=False)
            ids[pair_of_places] = ids[pair_of_places[::-1]]
        return ids, weights

    return patched(sampling.RASSampler, "nucleus", exchanged)


MISTAKES: Mistakes = {
    "rope-base: The rotary base is 10000 in place of the configured 1e6.": at(
        "llm.llm.model.model.rotary_emb", kind="leaf"
    ).sets(frequencies=lambda own: (1 / 10000 ** (np.arange(len(own)) / len(own))).astype(np.float32)),
    "rope-pairing: Rotary positions turn neighbors (2i, 2i + 1), where Qwen2 turns (i, i + half).": ATTENTION.wraps(
        qwen2, "rotate", neighbors_turned
    ),
    "rope-sign: Rotary positions turn the other way round.": ATTENTION.edits(
        "[-second, first]", "[second, -first]", of=qwen2.rotate
    ),
    "rope-offset: Every step of the generation starts at position 0.": BACKBONE.edits("cache.offset", "0"),
    "qkv-bias: The projections to queries, keys and values are built without their biases.": QKV.by(
        lambda pair: without(QKV.modules(pair), "bias")
    ),
    "kv-head-order: Keys and values are tiled over the heads (0 1 0 1) in place of repeated (0 0 1 1).": (
        ATTENTION.edits(
            "[(keys, values)]", "[[mx.tile(x, (1, self.heads // self.kv_heads, 1, 1)) for x in (keys, values)]]"
        )
    ),
    "causal-mask: The prompt attends to all of itself, without the causal mask.": ATTENTION.edits(
        '"causal" if x.shape[1] > 1 else None', "None"
    ),
    "llm-attention-scale: The attention scores are not scaled.": ATTENTION.edits("self.head_dim**-0.5", "1.0"),
    "rms-norm-epsilon: The RMSNorms have MLX's default epsilon 1e-5 in place of 1e-6.": NORMS.sets(eps=1e-5),
    "gate-and-up: The activation is put on the up projection, not on the gate.": MLP.edits(
        "self.act_fn(self.gate_proj(x)) * self.up_proj(x)", "self.gate_proj(x) * self.act_fn(self.up_proj(x))"
    ),
    "mlp-gelu: The feed-forward has GELU for SiLU.": at(f"{LAYER}.mlp.act_fn", kind="leaf").edits(*activation("gelu")),
    "final-norm: The hidden states are not normalized before the speech head.": BACKBONE.edits("self.norm(x)", "x"),
    "sos-and-task: The start and the task embedding are exchanged.": LLM.edits(
        FRAME, "self.task_id, self.embed_text(words), self.sos", of=lm.SpeechLM.prompt
    ),
    "prompt-text-order: The text to speak is put before the prompt's transcript.": LLM.wraps(
        lm.Qwen2LM, "prompt", lambda original, self, text, before, speech: original(self, before, text, speech)
    ),
    "speech-embedding-table: Prompt speech is looked up in the text embedding.": LLM.edits(
        "self._embedded(self.speech_embedding, ids)",
        "self.embed_text([token % self.config.qwen.vocab_size for token in ids])",
        of=lm.SpeechLM.embed_speech,
    ),
    "last-position: The next token is predicted from the first position in place of the last.": STEP.edits(
        "hidden[:, -1]", "hidden[:, 0]"
    ),
    "logits-not-normalized: Logits are handed on as if they were log-probabilities.": STEP.edits(
        " - mx.logsumexp(logits, axis=-1, keepdims=True)", ""
    ),
    "nucleus-order: The sampler sorts by rising probability.": LLM.wraps(
        sampling, "_likeliest", lambda original, scores, count: original(scores, len(scores))[::-1][:count]
    ),
    "nucleus-off-by-one: The sampler leaves out the token that crosses top_p, and keeps 24 of 25.": LLM.edits(
        "before < self.config.top_p",
        "(before == 0) | ((before + probabilities < self.config.top_p) & (xp.arange(len(ids)) < 24))",
        of=NUCLEUS,
    ),
    "sampler-exchange: In 1 % of its draws the sampler exchanges two of the 20 likeliest ids.": LLM.by(_exchanging),
    "prefix-order: What all utterances of a voice begin with is run in the wrong order.": at(
        "llm.prefill_prefix"
    ).edits("self.checked_text(prompt_text", "self.checked_text(prompt_text[::-1]", of=lm.SpeechLM.prefill_prefix),
}


LOOP, BISTREAM = at("llm.generate").of(lm.SpeechLM._generate), at("llm.generate_bistream")

GENERATION: Mistakes = {
    "min-len-ignored: The end of speech is allowed from the first token on.": LOOP.edits("index < min_len", "False"),
    "max-len-one-more: One token more than the longest is spoken.": LOOP.edits("range(max_len)", "range(max_len + 1)"),
    "special-ids-spoken: Only the end of speech ends it; other special ids are spoken.": LOOP.edits(
        "token >= self.config.speech_token_size", "token == self.eos_token"
    ),
    "sampler-forgets: The sampler never knows what was said before.": at("llm.generate", "llm.generate_bistream").edits(
        "self.decoded.append(self._sampler(log_probs, self.decoded, ignore_eos))",
        "self.decoded = [*self.decoded, self._sampler(log_probs, [], ignore_eos)]",
        of=drawing.Called.draw,
    ),
    "fill-due-late: The fill token is due one token later than the block of speech is long.": BISTREAM.edits(
        "self.next_fill - len", "self.next_fill + 1 - len", of=bistream.Bistream._block
    ),
    "task-id-missing: No task id says that the text has ended.": BISTREAM.edits(
        ", self.model.task_id)", ")", of=bistream.Bistream.finish
    ),
}
