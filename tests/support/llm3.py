"""CosyVoice3's language model on either side, and the golden inputs; the walk is that of `tests.support.llm`."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from mlx_cosyvoice.config import LLMConfig
from mlx_cosyvoice.llm import CosyVoice3LM
from mlx_cosyvoice.nn import load_official
from mlx_parity.sides import Side
from mlx_parity.sides.pytorch import TorchSide
from parity.sides.mlx import MLXSide
from reference import llm
from reference.synthetic import recipe
from tests.support import llm as walked
from tests.support.golden import as_torch

END_OF_PROMPT = 151646
EOS, FILL = 6562, 6564


def config(size: str) -> LLMConfig:
    return walked.config(size, "llm3")


def reference_llm(size: str, dtype: torch.dtype = torch.float32) -> llm.CosyVoice3LM:
    # on "meta" nothing is allocated or drawn for weights that are about to be replaced
    with torch.device("meta" if size == "full" else "cpu"):
        model = llm.build3(dataclasses.asdict(config(size)))
    model.load_state_dict(as_torch(walked.state_dict(size, "llm3")), strict=True, assign=True)
    return model.to(dtype)


def mlx_llm(size: str, dtype: mx.Dtype = mx.float32) -> CosyVoice3LM:
    model = load_official(CosyVoice3LM(config(size)), walked.state_dict(size, "llm3"), "llm.pt")
    if dtype != mx.float32:
        model.set_dtype(dtype)
    return model


def made(name: str, size: str) -> Side:
    return TorchSide(reference_llm(size)) if name == "pytorch" else MLXSide(mlx_llm(size))


@cache
def tiny(name: str) -> Side:
    return made(name, "tiny")


def prompt_text() -> np.ndarray:
    """[1, 7], of which the fourth ends the instruction."""
    ids = recipe.integers("input/prompt_text", (1, 7), 151936)
    ids[0, 3] = END_OF_PROMPT
    return ids


def inputs(prompt_speech: int = 23) -> dict[str, np.ndarray]:
    """By their names in `parity.stages.llm`."""
    return {
        "text_token": recipe.integers("input/text", (1, 11), 151936),
        "prompt_text_token": prompt_text(),
        "prompt_token": recipe.integers("input/prompt_speech_token", (1, 23), 6561)[:, :prompt_speech],
    }


def pick(log_probs: Any, decoded: list[int], ignore_eos: bool) -> int:
    """The sampler of the bistream golden: the walk by output length, and the end of speech after 60 tokens."""
    if not ignore_eos and len(decoded) >= 60:
        return EOS
    return walked.walk(np.asarray(log_probs), len(decoded))
