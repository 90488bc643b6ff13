"""What the language model's tests share: sizes, weights, the golden inputs and the golden walk."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlx_cosyvoice.config import LLMConfig, Qwen2Config, from_dict
from reference.synthetic import recipe
from tests.support.golden import Golden, golden, official_shapes

STEPS = 24
EOS, FILL = 6561, 6563
LM_HEAD, EMBED = "llm.model.lm_head.weight", "llm.model.model.embed_tokens.weight"


def config(size: str, stage: str = "llm") -> LLMConfig:
    qwen = from_dict(Qwen2Config, golden(f"{stage}.{size}").metadata["config"])
    return LLMConfig(llm_input_size=qwen.hidden_size, llm_output_size=qwen.hidden_size, qwen=qwen)


def state_dict(size: str, stage: str = "llm") -> dict[str, np.ndarray]:
    """Recipe weights under the official keys; the tied head is the embedding's own array, not half a GB more."""
    tensors = {k: recipe.parameter(k, s) for k, s in official_shapes(f"{stage}.{size}").items() if k != LM_HEAD}
    return {**tensors, LM_HEAD: tensors[EMBED]}


def text(size: str) -> list[int]:
    return recipe.integers("input/text", (11,), config(size).qwen.vocab_size).tolist()


def prompt_text(size: str) -> list[int]:
    return recipe.integers("input/prompt_text", (7,), config(size).qwen.vocab_size).tolist()


def prompt_speech() -> list[int]:
    return recipe.integers("input/prompt_speech_token", (23,), 6561).tolist()


def walk(log_probs: np.ndarray, step: int) -> int:
    """What the golden walk feeds back: the (step % 3)-th best speech token."""
    return int(np.argsort(-log_probs[:EOS], kind="stable")[step % 3])


def pick(log_probs: Any, decoded: list[int], ignore_eos: bool) -> int:
    """The sampler of the bistream golden: the walk by output length, and the end of speech after 60 tokens."""
    if not ignore_eos and len(decoded) >= 60:
        return EOS
    return walk(np.asarray(log_probs), len(decoded))


def assert_walk(log_probs: np.ndarray, tokens: list[int], size: str, max_abs: float) -> float:
    """Log-probabilities [24, V] and the walked tokens equal the golden ones; returns the largest error."""
    file = golden(f"llm.{size}")
    assert log_probs.shape == (STEPS, EOS + 3)
    error = assert_log_probs(log_probs, file, thinned_by=1 if size == "tiny" else 16, max_abs=max_abs)
    assert tokens == file["tokens"].tolist()
    return error


def assert_log_probs(log_probs: np.ndarray, file: Golden, *, thinned_by: int, max_abs: float) -> float:
    """Log-probabilities [24, V] equal the golden ones; returns the largest error."""
    assert np.isfinite(log_probs).all()
    errors = [
        np.abs(log_probs[:, ::thinned_by] - file["logp"]).max(),
        np.abs(np.take_along_axis(log_probs, file["logp_top64_ids"], axis=1) - file["logp_top64"]).max(),
        np.abs(-np.sort(-log_probs, axis=1)[:, :64] - file["logp_top64"]).max(),
    ]
    assert max(errors) <= max_abs, f"log-probabilities: max abs {max(errors):.3g} > {max_abs}"
    return float(max(errors))
