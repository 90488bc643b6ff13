"""The incremental flow beside the whole one, and utterances for both."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.decoding.incremental import FlowState, IncrementalFlow
from mlx_cosyvoice.flow import CausalMaskedDiff, CausalMaskedDiffWithXvec
from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.prompt import Prompt
from reference import flow as reference_flow
from reference.synthetic import recipe
from tests.support import flow as support
from tests.support.golden import recipe_state_dict


@cache
def whole(size: str, dtype: mx.Dtype = mx.float32) -> CausalMaskedDiffWithXvec:
    """The flow with the recipe's weights."""
    weights = {**recipe_state_dict(f"flow.{size}"), "decoder.rand_noise": reference_flow.fixed_noise(80).numpy()}
    flow = load_official(CausalMaskedDiffWithXvec(support.CONFIGS[size]), weights)
    if dtype != mx.float32:
        flow.set_dtype(dtype)
    return flow


@cache
def incremental(size: str = "tiny", **options: Any) -> IncrementalFlow:
    return IncrementalFlow(whole(size), **options)


def prompt(tokens: int = support.PROMPT) -> Prompt:
    """A voice; with the default length that of the golden numbers."""
    if tokens == support.PROMPT:
        return as_prompt(support.inputs())
    ids = recipe.integers("input/other_prompt_token", (1, 100), support.VOCAB)[:, :tokens]
    feat = recipe.unit("input/other_prompt_feat", (1, 200, 80))[:, : 2 * tokens] * np.float32(2.5) - np.float32(5)
    return as_prompt(support.inputs()._replace(prompt_token=ids, prompt_feat=feat))


def as_prompt(inputs: support.Inputs) -> Prompt:
    return Prompt(mx.array(inputs.prompt_token), mx.array(inputs.prompt_feat), mx.array(inputs.embedding))


def speech(tokens: int) -> list[int]:
    """The first tokens of the golden long utterance, and as many more as are wanted."""
    golden = support.stream_inputs()[-1][1].token[0].tolist()
    return (golden + recipe.integers("input/more_tokens", (2000,), support.VOCAB).tolist())[:tokens]


def whole_mel(flow: CausalMaskedDiff, voice: Prompt, token: Sequence[int], **how: Any) -> np.ndarray:
    """[1, T, 80] of one run over everything."""
    arguments = (voice.prompt_token, voice.prompt_feat, voice.embedding)
    return np.array(flow(mx.array([token], mx.int32), *arguments, **how))


def in_pieces(
    flow: IncrementalFlow, state: FlowState, token: Sequence[int], sizes: Sequence[int], final: Any = None
) -> tuple[list[np.ndarray], FlowState]:
    """The mel of every step, and the last state. What `sizes` leaves goes into the last step."""
    mels, start = [], 0
    for size in sizes:
        mel, state = flow.step(state, token[start : start + size])
        mels.append(np.array(mel))
        start += size
    if final or start < len(token):
        mel, state = flow.step(state, token[start:], final=final)
        mels.append(np.array(mel))
    return mels, state
