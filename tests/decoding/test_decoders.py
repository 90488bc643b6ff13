"""The decoders: the official numbers, explicit state, and what they refuse."""

from __future__ import annotations

import dataclasses
from functools import cache
from itertools import islice
from typing import Any
from unittest import mock

import mlx.core as mx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.decoding import (
    Decoder,
    Hops,
    OfficialDecoder,
    OfflineDecoder,
    StreamingVocoder,
    decode,
)
from mlx_cosyvoice.flow import CausalMaskedDiffWithXvec
from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.prompt import Prompt
from mlx_cosyvoice.vocoder import HiFTGenerator
from reference.flow import fixed_noise
from reference.streaming import stream as reference_stream
from tests.support import flow as flow_support
from tests.support import hift as hift_support
from tests.support import stream as support
from tests.support.golden import assert_close, recipe_state_dict
from tests.support.stream import mlx_prompt as prompt

KEPT = 3840


@cache
def models(size: str = "tiny") -> tuple[CausalMaskedDiffWithXvec, HiFTGenerator]:
    weights = {**recipe_state_dict(f"flow.{size}"), "decoder.rand_noise": fixed_noise(80).numpy()}
    flow = load_official(CausalMaskedDiffWithXvec(flow_support.CONFIGS[size]), weights)
    return flow, load_official(HiFTGenerator(hift_support.CONFIGS[size]), recipe_state_dict(f"hift.{size}"))


def golden_noise():
    draw = support.draws()
    return lambda samples: tuple(map(mx.array, draw(samples)))


def noise(samples: int):
    """The same draws for the same length."""
    keys = mx.random.split(mx.random.key(samples))
    return mx.random.uniform(shape=(1, 9), key=keys[0]), mx.random.normal((1, samples, 9), key=keys[1])


def quick() -> OfficialDecoder:
    """One Euler step is enough where only the loop is looked at."""
    return OfficialDecoder(*models(), n_timesteps=1)


@cache
def golden_run(name: str, size: str, count: int | None) -> list[np.ndarray]:
    decoder: Decoder = OfficialDecoder(*models(size))
    if name != "stream":
        decoder = OfflineDecoder(*models(size), speed=support.RUNS[name])
    return [np.array(wav) for wav in islice(decode(decoder, prompt(), golden_noise(), support.tokens()), count)]


@support.BY_SAMPLES
def test_official_numbers(name, size, count):
    support.assert_official(name, size, [piece[None] for piece in golden_run(name, size, count)], count)


@pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.soak)])
@pytest.mark.parametrize("name", support.OFFLINE)
def test_offline_step_by_step(name, size):
    """Beside the reference, which says the official numbers: the mel, f0 of its mel, and the samples of its source.

    At full size the samples of the two are not held against each other: for 8.5 seconds the phase of the source adds
    up what the last bits of f0 are, and those that a float32 network has in MLX lean to another side than PyTorch's.
    """
    flow, theirs = support.reference_models(size)
    with mock.patch.object(theirs, "decode", wraps=theirs.decode) as decoded, torch.inference_mode():
        (expected,) = support.run(name, flow, theirs, support.torch_draws())
        mel, source = decoded.call_args.args
        f0 = theirs.f0_predictor(mel).numpy()
    decoder = OfflineDecoder(*models(size), speed=support.RUNS[name])
    vocoder = decoder.vocoder
    with mock.patch.object(vocoder, "step", wraps=vocoder.step) as step:
        list(decode(decoder, prompt(), golden_noise(), support.tokens()))
    assert_close(np.array(step.call_args.args[1]).swapaxes(1, 2), mel.numpy(), 2e-3, "the mel")
    hift, own = models(size)[1], mx.array(mel.mT.numpy())
    assert_close(np.array(hift.f0_predictor(own)), f0, 1e-2, "f0, Hz")
    assert_close(np.array(hift.decode(own, mx.array(source.mT.numpy()))), expected, 2e-3, "the samples")


def test_pieces_are_those_of_the_hops():
    plan = Hops().plan(support.TOKENS, flow_support.PROMPT)
    held_back = [KEPT] + [0] * (len(plan) - 2) + [-KEPT]
    expected = [960 * hop - held for hop, held in zip(plan, held_back, strict=True)]
    assert [len(piece) for piece in golden_run("stream", "tiny", None)] == expected


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 60), st.integers(1, 260), st.integers(0, 99))
def test_the_loop_is_the_references(prompt_tokens, tokens, seed):
    """With networks that cost nothing and round nothing, both loops say the same to the last bits."""
    token = np.random.default_rng(seed).integers(0, 6561, tokens).tolist()
    theirs = support.fake_prompt(prompt_tokens)
    fake: Any = support.TorchFake()
    made = reference_stream(fake, fake, torch.tensor([token]), theirs, support.torch_draws())
    expected = [piece.wav[0].numpy() for piece in made]
    fake = support.MlxFake()
    ours = Prompt(*(mx.array(tensor.numpy()) for tensor in (theirs.token, theirs.feat, theirs.embedding)))
    pieces = [np.array(wav) for wav in decode(OfficialDecoder(fake, fake), ours, golden_noise(), token)]
    assert [piece.shape for piece in pieces] == [piece.shape for piece in expected]
    for number, (piece, wanted) in enumerate(zip(pieces, expected, strict=True)):
        assert_close(piece, wanted, 1e-5, f"piece {number}")


def feed(decoder, token, voice=None):
    """Pieces of an utterance whose tokens come one at a time, and the last state."""
    state = decoder.start(voice or prompt(), noise)
    pieces, waiting = [], []
    for value in token:
        waiting.append(value)
        if len(waiting) == decoder.due(state):
            wav, state = decoder.step(state, waiting, final=False)
            pieces.append(np.array(wav))
            waiting = []
    wav, state = decoder.step(state, waiting, final=True)
    return [*pieces, np.array(wav)], state


@pytest.mark.parametrize(
    ("prompt_tokens", "tokens", "lengths"),
    [
        (37, 41, [38 * 960 - KEPT, 3 * 960 + KEPT]),  # the rest is exactly the lookahead: no new token at the end
        (37, 42, [38 * 960 - KEPT, 4 * 960 + KEPT]),
        (37, 40, [40 * 960]),  # shorter than the first hop
        (37, 1, [960]),
        (0, 28, [25 * 960 - KEPT, 3 * 960 + KEPT]),  # no prompt: an SFT speaker
        (25, 30, [25 * 960 - KEPT, 5 * 960 + KEPT]),  # a prompt that ends on a chunk border
    ],
)
def test_short_utterances(prompt_tokens, tokens, lengths):
    decoder, token, voice = quick(), support.tokens()[:tokens], prompt(prompt_tokens)
    pieces, state = feed(decoder, token, voice)
    assert [len(piece) for piece in pieces] == lengths
    assert state.ended
    assert state.vocoder is None
    assert all(np.isfinite(piece).all() and np.abs(piece).max() <= 1 for piece in pieces)
    for piece, same in zip(pieces, decode(decoder, voice, noise, iter(token)), strict=True):
        assert np.array_equal(piece, np.array(same))


@pytest.mark.parametrize("kind", [OfficialDecoder, OfflineDecoder])
def test_an_utterance_without_tokens_is_silent(kind):
    decoder = kind(*models(), n_timesteps=1)
    wav, state = decoder.step(decoder.start(prompt(), noise), [], final=True)
    assert wav.shape == (0,)
    assert state.ended
    assert not list(decode(decoder, prompt(), noise, []))


def test_a_state_can_be_continued_twice():
    decoder, token = quick(), support.tokens()
    _, kept = decoder.step(decoder.start(prompt(), noise), token[:41], final=False)
    assert (kept.spoken, kept.hops, len(kept.token), decoder.due(kept)) == (38, 1, 41, 50)
    assert kept.vocoder is not None
    before = [np.array(array) for array in (kept.vocoder.mel, kept.vocoder.source, kept.vocoder.speech)]
    assert [array.shape for array in before] == [(1, 8, 80), (1, KEPT, 1), (KEPT,)]
    ends = [decoder.step(kept, token[41:60], final=True)[0] for _ in range(2)]
    other, _ = decoder.step(kept, token[141:160], final=True)
    later, _ = decoder.step(kept, token[41:91], final=False)
    assert mx.array_equal(ends[0], ends[1])
    assert not mx.array_equal(ends[0], other)
    assert later.shape == (50 * 960,)
    for array, name in zip(before, ("mel", "source", "speech"), strict=True):
        assert np.array_equal(array, np.array(getattr(kept.vocoder, name)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        kept.spoken = 0  # type: ignore[misc]


def test_two_streams_do_not_disturb_each_other():
    decoder, token = quick(), support.tokens()
    alone = [[np.array(wav) for wav in decode(decoder, prompt(), noise, part)] for part in (token[:60], token[100:170])]
    together = zip(*(decode(decoder, prompt(), noise, part) for part in (token[:60], token[100:170])), strict=True)
    for place, pieces in enumerate(together):
        for stream, piece in enumerate(pieces):
            assert np.array_equal(np.array(piece), alone[stream][place])


def test_tokens_are_read_no_further_than_needed():
    read = []

    def slow():
        for value in support.tokens():
            read.append(value)
            yield value

    pieces = decode(quick(), prompt(), noise, slow())
    next(pieces)
    assert len(read) == 38 + 3
    next(pieces)
    assert len(read) == 38 + 3 + 50


def test_memory_does_not_grow_with_the_utterance():
    """A state holds arrays, not the computation that made them, and of the audio only the end."""
    fake: Any = support.MlxFake()  # the vocoder is the real one
    decoder, token = OfficialDecoder(fake, models()[1]), support.tokens() * 2
    state, position, held = decoder.start(prompt(), noise), 0, []
    for _ in range(4):
        due = decoder.due(state)
        wav, state = decoder.step(state, token[position : position + due], final=False)
        position += due
        del wav
        mx.clear_cache()
        held.append(mx.get_active_memory())
    assert held[-1] - held[1] < 1_000_000


def test_offline_collects_whatever_comes():
    decoder: Decoder = OfflineDecoder(*models(), n_timesteps=1)
    token = support.tokens()[:20]
    state = decoder.start(prompt(), noise)
    assert decoder.due(state) is None
    for part in (token[:7], [], token[7:12]):
        wav, state = decoder.step(state, part, final=False)
        assert wav.shape == (0,)
    wav, state = decoder.step(state, token[12:], final=True)
    (whole,) = decode(decoder, prompt(), noise, token)
    assert mx.array_equal(wav, whole)
    assert wav.shape == (20 * 960,)


@pytest.mark.parametrize(("speed", "frames"), [(0.5, 80), (1.25, 32), (1.3, 30), (4, 10)])
def test_speed(speed, frames):
    (wav,) = decode(OfflineDecoder(*models(), n_timesteps=1, speed=speed), prompt(), noise, support.tokens()[:20])
    assert wav.shape == (frames * 480,)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision(dtype):
    flow, hift = models.__wrapped__("tiny")
    flow.set_dtype(dtype)
    hift.set_dtype(dtype)
    for wav in decode(OfficialDecoder(flow, hift, n_timesteps=1), prompt(0), noise, support.tokens()[:29]):
        assert wav.dtype == mx.float32
        assert mx.isfinite(wav).all()


@pytest.mark.parametrize("kind", [OfficialDecoder, OfflineDecoder])
@pytest.mark.parametrize(("value", "place"), [(-1, 0), (6561, 2), (10**6, 1)])
def test_what_is_no_token_is_refused(kind, value, place):
    decoder = kind(*models())
    token = [5] * 41
    token[place] = value
    with pytest.raises(ValueError, match=rf"token {place} of this step is {value}: speech tokens lie in 0\.\.6560"):
        decoder.step(decoder.start(prompt(), noise), token, final=False)


@pytest.mark.parametrize("count", [0, 40, 42])
def test_a_step_takes_what_is_due(count):
    decoder = quick()
    state = decoder.start(prompt(), noise)
    with pytest.raises(ValueError, match=f"a step that is not final needs 41 new tokens, not {count}"):
        decoder.step(state, [5] * count, final=False)


@pytest.mark.parametrize("kind", [OfficialDecoder, OfflineDecoder])
def test_an_utterance_ends_once(kind):
    decoder = kind(*models(), n_timesteps=1)
    _, state = decoder.step(decoder.start(prompt(), noise), [5], final=True)
    with pytest.raises(ValueError, match="the utterance has ended"):
        decoder.step(state, [5], final=True)


@pytest.mark.parametrize("kind", [OfficialDecoder, OfflineDecoder])
def test_euler_steps_are_checked(kind):
    with pytest.raises(ValueError, match="n_timesteps must be at least 1, not 0"):
        kind(*models(), n_timesteps=0)


@pytest.mark.parametrize("speed", [0, -1.0, 100, float("nan")])
def test_absurd_speeds_are_refused_at_once(speed):
    with pytest.raises(ValueError, match="speed must be from"):
        OfflineDecoder(*models(), speed=speed)


def test_a_vocoder_needs_enough_frames_to_hold_some_back():
    vocoder = StreamingVocoder(models()[1])
    with pytest.raises(ValueError, match="mel has 7 frames: a piece that is not final needs 8 or more"):
        vocoder.step(None, mx.zeros((1, 7, 80)), noise, final=False)
    wav, tail = vocoder.step(None, mx.zeros((1, 8, 80)), noise, final=False)
    assert wav.shape == (0,)
    last, end = vocoder.step(tail, mx.zeros((1, 0, 80)), noise, final=True)
    assert last.shape == (KEPT,)
    assert end is None


def test_a_vocoder_says_nothing_of_no_frames():
    wav, end = StreamingVocoder(models()[1]).step(None, mx.zeros((1, 0, 80)), noise, final=True)
    assert wav.shape == (0,)
    assert end is None


@pytest.mark.parametrize("frames", [0, -1])
def test_a_vocoder_without_memory_is_refused(frames):
    with pytest.raises(ValueError, match=f"mel_frames must be at least 1, not {frames}"):
        StreamingVocoder(models()[1], mel_frames=frames)
