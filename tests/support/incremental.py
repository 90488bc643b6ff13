"""The incremental flow beside the whole one, and utterances for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.decoding import Hops
from mlx_cosyvoice.decoding.incremental import FlowState, IncrementalFlow
from mlx_cosyvoice.flow import CausalMaskedDiff, CausalMaskedDiffWithXvec
from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.prompt import Prompt
from reference import flow as reference_flow
from reference.synthetic import recipe
from tests.support import flow as support
from tests.support.golden import assert_close, recipe_state_dict


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


def any_hops(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test with prompts, utterances and hops of any length, and either kind of last hop."""
    for prompt_tokens, tokens, hop, final in (
        (0, 1, 25, "causal"),
        (25, 28, 25, "causal"),
        (28, 22, 25, "causal"),
        (50, 77, 50, "full"),
    ):
        test = example(prompt_tokens=prompt_tokens, tokens=tokens, hop=hop, final=final)(test)
    drawn = given(
        prompt_tokens=st.integers(0, 80),
        tokens=st.integers(1, 130),
        hop=st.sampled_from([25, 50, 75]),
        final=st.sampled_from(["causal", "full"]),
    )
    return settings(max_examples=10, deadline=None)(drawn(test))


def assert_hops_yield_one_run(
    flow: IncrementalFlow, prompt_tokens: int, tokens: int, hop: int, final: Any, bound: float
) -> None:
    """First hops bring prompt and speech to the border of a chunk, later ones are `hop` tokens."""
    voice, token, steps = prompt(prompt_tokens), speech(tokens), flow.n_timesteps
    plan = Hops(growth=1, chunk=25, longest=hop)
    hops = [min(plan.hop(0, prompt_tokens) + support.LOOKAHEAD, tokens)]
    while sum(hops) + hop < tokens:
        hops.append(hop)
    mels, state = in_pieces(flow, flow.start(voice), token, hops, final)
    assert state.finished
    mel = np.concatenate(mels, axis=1)
    assert mel.shape == (1, 2 * tokens, 80)
    causal = whole_mel(flow.flow, voice, token, n_timesteps=steps, streaming=True, finalize=True)
    if final == "causal":
        assert_close(mel, causal, bound, "the utterance")
        return
    full = whole_mel(flow.flow, voice, token, n_timesteps=steps, streaming=False, finalize=True)
    before = sum(part.shape[1] for part in mels[:-1])
    if before:
        assert_close(mel[:, :before], causal[:, :before], bound, "all but the last hop")
    assert_close(mel[:, before:], full[:, before:], bound, "the last hop")
