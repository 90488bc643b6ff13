"""The flow computed hop by hop is the flow: against the official numbers and against runs over everything."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_cosyvoice.decoding import Hops
from mlx_cosyvoice.decoding.incremental import FlowState, IncrementalFlow
from mlx_cosyvoice.prompt import Prompt
from tests.support import flow as support
from tests.support.golden import assert_close, golden
from tests.support.incremental import (
    any_hops,
    assert_hops_yield_one_run,
    in_pieces,
    incremental,
    prompt,
    speech,
    whole,
    whole_mel,
)

MEL = 2e-3
#: Against our own whole run on tiny, which differs in nothing but the order of sums.
SAME = 1e-4
STEPS = 2

sizes = pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.slow)])


@sizes
def test_chunks_are_the_official_ones(size: str) -> None:
    flow = incremental(size)
    # each hop ends with its lookahead, which the next one need not bring again
    hops = np.diff([0, *(end + support.LOOKAHEAD for end in support.STREAM_ENDS)]).tolist()
    mels, _ = in_pieces(flow, flow.start(prompt()), speech(116), hops)
    assert [mel.shape[1] for mel in mels] == [26, 50, 50, 50, 50]
    mel = np.concatenate(mels, axis=1).transpose(0, 2, 1)
    assert_close(mel, golden(f"flow.{size}")["mel/stream_chunks"], MEL, "mel/stream_chunks")


@sizes
def test_every_hop_but_the_last_is_that_of_official_streaming(size: str) -> None:
    """Official hops run the whole prefix again; the last one, with full attention, is that of `final="full"`."""
    flow, voice, token = incremental(size), prompt(), speech(120)
    expected, incremented = [], []
    state, known, spoken = flow.start(voice), 0, 0
    plan = Hops().plan(len(token), support.PROMPT)
    assert plan == [38, 50, 32]
    for hop in plan[:-1]:
        heard = spoken + hop + support.LOOKAHEAD
        mel = whole_mel(whole(size), voice, token[:heard], streaming=True, finalize=False)
        expected.append(mel[:, 2 * spoken :])
        new, state = flow.step(state, token[known:heard])
        incremented.append(np.array(new))
        spoken, known = spoken + hop, heard
    for number, (ours, theirs) in enumerate(zip(incremented, expected, strict=True)):
        assert_close(ours, theirs, MEL, f"hop {number}")
    last = whole_mel(whole(size), voice, token, streaming=False, finalize=True)[:, 2 * spoken :]
    new, _ = flow.step(state, token[known:], final="full")
    assert_close(new, last, MEL, "the last hop")


@any_hops
def test_any_hops_yield_the_mel_of_one_run(prompt_tokens: int, tokens: int, hop: int, final: Any) -> None:
    assert_hops_yield_one_run(incremental(n_timesteps=STEPS), prompt_tokens, tokens, hop, final, SAME)


def test_tokens_may_come_in_any_portions() -> None:
    """A chunk is computed as soon as it and 3 more tokens are there: here the prompt's 37 tokens and 13 more."""
    flow, token = incremental(n_timesteps=STEPS), speech(50)
    mels, state = in_pieces(flow, flow.start(prompt()), token, [1] * 50)
    frames = [mel.shape[1] for mel in mels]
    assert {place + 1: count for place, count in enumerate(frames) if count} == {16: 26, 41: 50}
    at_once, _ = flow.step(flow.start(prompt()), token)
    assert_close(np.concatenate(mels, axis=1), np.array(at_once), SAME, "token by token")
    assert (state.computed, len(state.tokens)) == (75, 87)


def test_a_state_can_be_continued_more_than_once() -> None:
    """Continuations share memory; none may see what another has written there."""
    flow, token = incremental(n_timesteps=STEPS), speech(200)
    state = flow.start(prompt())
    _, state = flow.step(state, token[:41])
    size = state.nbytes
    first, longer = flow.step(state, token[41:120])
    for _ in range(3):
        _, longer = flow.step(longer, token[120:195])
    other, _ = flow.step(state, token[120:199])
    again, _ = flow.step(state, token[41:120])
    assert_close(again, np.array(first), SAME, "the same continuation again")
    direct, _ = flow.step(flow.start(prompt()), token[:41] + token[120:199])
    assert_close(other, np.array(direct)[:, -other.shape[1] :], SAME, "another continuation")
    assert np.abs(np.array(other) - np.array(first)).max() > 0.1
    assert state.computed == 75
    assert longer.nbytes > 2 * size


@pytest.mark.parametrize(
    ("tokens", "prefilled"), [(0, 0), (25, 0), (27, 0), (28, 25), (52, 25), (53, 50), (75, 50), (80, 75)]
)
def test_whole_chunks_of_the_prompt_are_computed_before_the_first_token(tokens: int, prefilled: int) -> None:
    """The next 3 tokens belong to what a chunk needs, so the last chunk waits if they would be the text's."""
    assert incremental(n_timesteps=1).start(prompt(tokens)).computed == prefilled


def test_a_voice_can_be_started_once_for_many_utterances() -> None:
    flow = incremental(n_timesteps=STEPS)
    voice = flow.start(prompt(80))
    size = voice.nbytes
    for token in (speech(60), speech(150)[60:]):
        mel, _ = flow.step(voice, token, final="causal")
        expected, _ = flow.step(flow.start(prompt(80)), token, final="causal")
        assert_close(mel, np.array(expected), SAME, "from the voice's state")
    assert voice.nbytes == size
    # 75 tokens: keys and values of 4 blocks, 2 batch entries, 64 wide, at each Euler step, and of the encoder, 512 wide
    solver, encoder = STEPS * 4 * 2 * 150 * 64, (1 * 75 + 4 * 150) * 512
    assert size == pytest.approx(2 * 4 * (solver + encoder), rel=0.02)


def test_noise_given_is_used_and_limits_the_length() -> None:
    voice, token = prompt(), speech(60)
    noise = mx.random.normal((1, 2 * 90, 80), key=mx.random.key(3))
    flow = IncrementalFlow(whole("tiny"), n_timesteps=2, noise=noise)
    mel, state = flow.step(flow.start(voice), token[:40])
    expected = whole_mel(whole("tiny"), voice, token[:41], n_timesteps=2, noise=noise, streaming=True, finalize=False)
    assert_close(mel, expected[:, : mel.shape[1]], SAME, "with other noise")
    with pytest.raises(ValueError, match="there is noise for 180"):
        flow.step(state, token[40:], final="causal")


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_weights_run(dtype: mx.Dtype) -> None:
    flow = IncrementalFlow(whole("tiny", dtype), n_timesteps=2)
    mel, state = flow.step(flow.start(prompt()), speech(40))
    assert mel.dtype == mx.float32
    assert {array.dtype for array in state.arrays()} == {dtype}
    exact, _ = incremental(n_timesteps=2).step(incremental(n_timesteps=2).start(prompt()), speech(40))
    assert 0 < np.abs(np.array(mel) - np.array(exact)).max() < 0.5


def started() -> FlowState:
    return incremental(n_timesteps=1).start(prompt(0))


def finished() -> FlowState:
    return incremental(n_timesteps=1).step(started(), [1], final="causal")[1]


@pytest.mark.parametrize(
    ("state", "token", "final", "message"),
    [
        (started, [1, 6561], None, "speech token 6561 is outside the vocabulary of 6561"),
        (started, [1], "whole", 'final must be None, "causal" or "full", not \'whole\''),
        (started, [], "causal", "ends without a token"),
        (started, [], "full", "ends without a token"),
        (finished, [1], None, "has ended"),
    ],
)
def test_steps_that_make_no_sense_are_refused(state: Any, token: list[int], final: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        incremental(n_timesteps=1).step(state(), token, final=final)


def test_a_finished_state_holds_no_memory_to_speak_of() -> None:
    assert finished().nbytes < 1000


def test_negative_tokens_are_taken_for_zero() -> None:
    flow, token = incremental(n_timesteps=1), speech(30)
    marked = [-1 if place == 7 else each for place, each in enumerate(token)]
    zeroed = [0 if place == 7 else each for place, each in enumerate(token)]
    ours, _ = flow.step(started(), marked)
    assert_close(ours, np.array(flow.step(started(), zeroed)[0]), SAME, "token -1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state_dtype": mx.int32}, "state_dtype must be float32, float16, bfloat16 or None, not mlx.core.int32"),
        ({"left_context_chunks": -1}, "left_context_chunks must be 0 or more"),
        ({"n_timesteps": 0}, "n_timesteps must be at least 1, not 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IncrementalFlow(whole("tiny"), **options)


def test_a_network_whose_chunks_do_not_fit_is_refused() -> None:
    with support.decoder_mask_dropped(whole("tiny")), pytest.raises(ValueError, match="chunks of 25 tokens"):
        IncrementalFlow(whole("tiny"))


def test_a_prompt_outside_the_vocabulary_is_refused() -> None:
    high = Prompt(mx.array([[6561]]), mx.zeros((1, 2, 80)), mx.zeros((1, 192)))
    with pytest.raises(ValueError, match="speech token 6561"):
        incremental(n_timesteps=1).start(high)
