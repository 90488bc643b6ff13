"""The incremental decoder: the mel of the official streaming, vocoded hop by hop, and voices that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_cosyvoice.decoding import IncrementalDecoder, PrefilledVoices, decode
from mlx_cosyvoice.decoding.incremental import LEFT_CONTEXT_CHUNKS
from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.prompt import Prompt
from mlx_cosyvoice.vocoder import HiFTGenerator
from tests.support.golden import assert_close, recipe_state_dict
from tests.support.hift import CONFIGS
from tests.support.incremental import incremental, prompt, speech, whole, whole_mel

STEPS = 2


@cache
def vocoder() -> HiFTGenerator:
    return load_official(HiFTGenerator(CONFIGS["tiny"]), recipe_state_dict("hift.tiny"))


def decoder(**options: Any) -> IncrementalDecoder:
    return IncrementalDecoder(whole("tiny"), vocoder(), n_timesteps=STEPS, **options)


def noise(samples: int) -> tuple[mx.array, mx.array]:
    """Every 480 samples alike, so that it does not matter in how many pieces it is drawn."""
    key = mx.random.key(7)
    drawn = mx.random.normal((1, 480, 9), key=key)
    return mx.random.uniform(shape=(1, 9), key=key), mx.tile(drawn, (1, samples // 480, 1))


def spoken(decoder: IncrementalDecoder, voice: Prompt, token: Sequence[int]) -> list[np.ndarray]:
    return [np.array(wav) for wav in decode(decoder, voice, noise, token)]


@pytest.mark.parametrize("final", ["causal", "full"])
def test_hops_are_one_run_of_the_vocoder_over_the_whole_mel(final: Any) -> None:
    """The prompt's 37 tokens and 38 more fill three chunks; then there are two hops of 25, and 12 at the end."""
    voice, token = prompt(), speech(100)
    pieces = spoken(decoder(final=final), voice, token)
    assert [len(piece) for piece in pieces] == [480 * frames for frames in (2 * 38 - 21, 50, 50, 2 * 12 + 21)]
    how: dict[str, Any] = {"n_timesteps": STEPS, "finalize": True}
    mel = whole_mel(whole("tiny"), voice, token, streaming=True, **how)
    if final == "full":
        last = whole_mel(whole("tiny"), voice, token, streaming=False, **how)
        mel = np.concatenate([mel[:, :176], last[:, 176:]], axis=1)
    rand_ini, sine_noise = noise(200 * 480)
    wav, _ = vocoder()(mx.array(mel), rand_ini=rand_ini, sine_noise=sine_noise)
    # what float32 costs the mel reaches the source's phase, and adds up there
    assert_close(np.concatenate(pieces), np.array(wav)[0], 2e-2, "samples")


@pytest.mark.parametrize(
    ("prompt_tokens", "options", "due"),
    [(37, {}, 38 + 3), (75, {}, 25 + 3), (74, {}, 26 + 3), (0, {"first": 26}, 50 + 3), (38, {"first": 12}, 12 + 3)],
)
def test_the_first_hop_ends_on_a_border_and_the_others_are_as_asked(
    prompt_tokens: int, options: dict[str, Any], due: int
) -> None:
    decode = decoder(hop=50, **options)
    state = decode.start(prompt(prompt_tokens), noise)
    assert decode.due(state) == due
    wav, state = decode.step(state, speech(due), final=False)
    assert wav.shape == (960 * (due - 3) - 21 * 480,)
    assert decode.due(state) == 50


def test_a_state_can_be_continued_twice_and_tells_its_size() -> None:
    decode, token = decoder(), speech(80)
    _, state = decode.step(decode.start(prompt(), noise), token[:41], final=False)
    size = state.nbytes
    assert size > state.flow.nbytes > 1e6
    first, second = (decode.step(state, token[41:66], final=False)[0] for _ in range(2))
    assert_close(second, np.array(first), 1e-3, "again")
    assert state.nbytes == size


def test_keys_and_values_are_kept_as_asked() -> None:
    half, full = (decoder(state_dtype=dtype).start(prompt(), noise).flow.nbytes for dtype in (mx.float16, None))
    assert half < 0.7 * full


@pytest.mark.slow
def test_by_default_the_state_is_bounded_and_the_first_seconds_are_exact() -> None:
    voice, token = prompt(), speech(25 * 45)
    sizes: dict[int | None, list[int]] = {}
    mels: dict[int | None, list[np.ndarray]] = {}
    for left in (LEFT_CONTEXT_CHUNKS, None):
        options: dict[str, Any] = {} if left else {"left_context_chunks": None}
        flow = IncrementalDecoder(whole("tiny"), vocoder(), n_timesteps=1, **options).flow
        state = flow.start(voice)
        sizes[left], mels[left] = [], []
        for start in range(0, len(token), 25):
            mel, state = flow.step(state, token[start : start + 25])
            sizes[left].append(state.nbytes)
            mels[left].append(np.array(mel))
    bounded, growing = sizes[LEFT_CONTEXT_CHUNKS], sizes[None]
    assert growing[-1] > 1.4 * growing[29]
    # the tokens themselves are kept, as Python's integers, which are not counted
    assert max(bounded[29:]) == max(bounded[30:38])
    frames = 50 * (LEFT_CONTEXT_CHUNKS - 2)
    limited, exact = (np.concatenate(mels[left], axis=1) for left in (LEFT_CONTEXT_CHUNKS, None))
    assert_close(limited[:, :frames], exact[:, :frames], 1e-5, "the first seconds")
    assert np.abs(limited - exact)[:, -50:].max() > 1e-4


def test_short_utterances_are_spoken_in_one_piece() -> None:
    assert [len(piece) for piece in spoken(decoder(), prompt(), speech(5))] == [5 * 960]
    assert spoken(decoder(), prompt(), []) == []


def test_steps_that_make_no_sense_are_refused() -> None:
    decode = decoder()
    state = decode.start(prompt(), noise)
    with pytest.raises(ValueError, match="needs 41 new tokens, not 3"):
        decode.step(state, [1, 2, 3], final=False)
    with pytest.raises(ValueError, match="token 1 of this step is 6561"):
        decode.step(state, [1, 6561], final=True)
    _, ended = decode.step(state, [], final=True)
    with pytest.raises(ValueError, match="has ended"):
        decode.step(ended, [1], final=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": 30}, "hop must be a multiple of 25 tokens, not 30"),
        ({"hop": 0}, "hop must be a multiple of 25 tokens, not 0"),
        ({"first": 3}, "first must be at least 11 tokens for any sound to come out, not 3"),
        ({"final": None}, "final must be"),
        ({"voice_budget": -1}, "budget must be at least 0"),
        ({"left_context_chunks": -1}, "left_context_chunks must be 0 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decoder(**options)


def test_a_voice_is_computed_once() -> None:
    voices = PrefilledVoices(incremental(n_timesteps=STEPS))
    first = voices.state(prompt(60))
    other = prompt(60)
    arrays = (mx.array(np.array(each)) for each in (other.prompt_token, other.prompt_feat, other.embedding))
    again = Prompt(*arrays, prompt_text=(1, 2), llm_prompt_token=(3,))  # the flow does not see these
    assert voices.state(again) is first
    assert voices.state(prompt(61)) is not first
    assert voices.nbytes == first.nbytes + voices.state(prompt(61)).nbytes


def test_the_voices_used_last_are_kept_within_the_budget() -> None:
    flow = incremental(n_timesteps=STEPS)
    size = flow.start(prompt(53)).nbytes
    voices = PrefilledVoices(flow, 2 * size)
    first = voices.state(prompt(53))
    voices.state(prompt(54))
    assert voices.state(prompt(53)) is first
    newest = voices.state(prompt(55))
    assert voices.nbytes == 2 * size
    assert voices.state(prompt(53)) is first
    assert voices.state(prompt(55)) is newest
    none = PrefilledVoices(flow, size - 1)
    assert none.state(prompt(53)) is not none.state(prompt(53))
    assert none.nbytes == 0
