"""CosyVoice3's flow computed hop by hop is the flow: against the official numbers and against runs over everything."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch

from mlx_cosyvoice.config import DiTCFMConfig, DiTConfig, DiTFlowConfig
from mlx_cosyvoice.decoding import Hops
from mlx_cosyvoice.decoding.incremental import IncrementalFlow
from mlx_cosyvoice.flow import CausalMaskedDiffWithDiT
from reference.upsample_encoder import left_context
from tests.support import flow as inputs
from tests.support.flow_dit import STREAM_ENDS, incremental, reference_flow, whole
from tests.support.golden import assert_close, golden
from tests.support.incremental import any_hops, assert_hops_yield_one_run, in_pieces, prompt, speech, whole_mel

MEL = 2e-3
#: Against our own whole run on tiny, which differs in nothing but the order of sums: 512 steps of float32 at a mel's
#: largest values. A hop that goes on from a wrong state is 1e-2 off or more.
SAME = 512 * float(np.spacing(np.float32(13)))
STEPS = 2

sizes = pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.slow)])


@sizes
def test_chunks_are_the_official_ones(size: str) -> None:
    flow, ends = incremental(size), STREAM_ENDS[size]
    hops = np.diff([0, *(end + inputs.LOOKAHEAD for end in ends)]).tolist()
    mels, _ = in_pieces(flow, flow.start(prompt()), speech(116), hops)
    assert [mel.shape[1] for mel in mels] == (2 * np.diff([0, *ends])).tolist()
    mel = np.concatenate(mels, axis=1).transpose(0, 2, 1)
    assert_close(mel, golden(f"flow3.{size}")["mel/stream_chunks"], MEL, "mel/stream_chunks")


def test_every_hop_but_the_last_is_that_of_official_streaming() -> None:
    """Official hops run the whole prefix again; the last one, with full attention, is that of `final="full"`."""
    flow, voice, token = incremental(), prompt(), speech(120)
    state, known, spoken = flow.start(voice), 0, 0
    plan = Hops().plan(len(token), inputs.PROMPT)
    assert plan == [38, 50, 32]
    for hop in plan[:-1]:
        heard = spoken + hop + inputs.LOOKAHEAD
        official = whole_mel(whole(), voice, token[:heard], streaming=True, finalize=False)
        new, state = flow.step(state, token[known:heard])
        assert_close(new, official[:, 2 * spoken :], SAME, f"the hop to {heard}")
        spoken, known = spoken + hop, heard
    last = whole_mel(whole(), voice, token, streaming=False, finalize=True)[:, 2 * spoken :]
    new, _ = flow.step(state, token[known:], final="full")
    assert_close(new, last, SAME, "the last hop")


@any_hops
def test_any_hops_yield_the_mel_of_one_run(prompt_tokens: int, tokens: int, hop: int, final: Any) -> None:
    assert_hops_yield_one_run(incremental(n_timesteps=STEPS), prompt_tokens, tokens, hop, final, SAME)


def test_a_state_can_be_continued_more_than_once() -> None:
    flow, token = incremental(n_timesteps=STEPS), speech(200)
    _, state = flow.step(flow.start(prompt()), token[:41])
    first, _ = flow.step(state, token[41:120])
    other, _ = flow.step(state, token[120:199])
    again, _ = flow.step(state, token[41:120])
    assert_close(again, np.array(first), SAME, "the same continuation again")
    direct, _ = flow.step(flow.start(prompt()), token[:41] + token[120:199])
    assert_close(other, np.array(direct)[:, -other.shape[1] :], SAME, "another continuation")
    assert np.abs(np.array(other) - np.array(first)).max() > 0.1


@pytest.mark.parametrize("left", [0, 2])
def test_left_context_is_that_of_the_official_mask(left: int) -> None:
    """The official `subsequent_chunk_mask` with `num_left_chunks`; positions go on counting from the start."""

    voice, token = prompt(60), speech(140)
    arrays = [np.array(each) for each in (voice.prompt_token, voice.prompt_feat, voice.embedding)]
    arguments = [torch.from_numpy(each) for each in (np.array([token]), arrays[0].astype(np.int64), *arrays[1:])]
    how: dict[str, Any] = {"streaming": True, "finalize": True, "n_timesteps": STEPS}
    reference = reference_flow()
    exact = reference.inference(*arguments, **how)
    with left_context(reference, left):
        expected = reference.inference(*arguments, **how)
    flow = incremental(n_timesteps=STEPS, left_context_chunks=left)
    mels, _ = in_pieces(flow, flow.start(voice), token, [50, 25], "causal")
    mel = np.concatenate(mels, axis=1).transpose(0, 2, 1)
    assert_close(mel, expected.numpy(), 1e-3, f"{left} chunks to the left")
    assert np.abs(mel - exact.numpy()).max() > 0.01


@pytest.mark.parametrize(("dtype", "bound"), [(mx.float16, 0.01), (mx.bfloat16, 0.1)])
def test_half_precision_state_is_nearly_exact(dtype: mx.Dtype, bound: float) -> None:
    mels = []
    for flow in (incremental(), IncrementalFlow(whole(), state_dtype=dtype)):
        mels.append(np.concatenate(in_pieces(flow, flow.start(prompt(80)), speech(103), [50, 53])[0], axis=1))
    assert 0 < np.abs(mels[1] - mels[0]).max() < bound


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_weights_run(dtype: mx.Dtype) -> None:
    flow = IncrementalFlow(whole("tiny", dtype), n_timesteps=2)
    mel, state = flow.step(flow.start(prompt()), speech(40))
    assert mel.dtype == mx.float32
    assert {array.dtype for array in state.arrays()} == {dtype}
    exact, _ = incremental(n_timesteps=2).step(incremental(n_timesteps=2).start(prompt()), speech(40))
    assert 0 < np.abs(np.array(mel) - np.array(exact)).max() < 0.5


def test_chunks_that_are_no_whole_tokens_are_refused() -> None:
    estimator = DiTConfig(dim=16, depth=1, heads=1, static_chunk_size=51)
    flow = CausalMaskedDiffWithDiT(DiTFlowConfig(decoder=DiTCFMConfig(estimator=estimator)))
    with pytest.raises(ValueError, match="chunks of 25 tokens and its estimator's of 51 frames"):
        IncrementalFlow(flow)
