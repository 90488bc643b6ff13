"""CosyVoice3's decoders: the official numbers, and pieces that equal the whole."""

from __future__ import annotations

from functools import cache
from itertools import islice, pairwise
from typing import Any
from unittest import mock

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.decoding import Decoder, IncrementalDecoder, OfficialDecoder, OfflineDecoder, decode
from mlx_cosyvoice.decoding.causal_vocoder import CausalVocoder
from mlx_cosyvoice.speech import fixed_noise
from tests.support import flow as flow_support
from tests.support import flow_dit, stream3
from tests.support import stream as support
from tests.support.golden import assert_close, golden
from tests.support.stream import mlx_prompt as prompt
from tests.vocoder.test_causal import vocoder

SIZES = pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.slow)])
FRAME, DELAY = 480, 8


@cache
def drawn() -> tuple[mx.array, mx.array]:
    rand_ini, sine_noise = stream3.draw(FRAME * stream3.FRAMES)
    return mx.array(rand_ini.numpy()), mx.array(sine_noise.numpy())


def noise(samples: int, start: int = 0) -> tuple[mx.array, mx.array]:
    rand_ini, sine_noise = drawn()
    return rand_ini, sine_noise[:, start : start + samples]


def spoken(
    decoder: Decoder, token: list[int], prompt_tokens: int = flow_support.PROMPT, count: int | None = None
) -> list[np.ndarray]:
    return [np.array(wav)[None] for wav in islice(decode(decoder, prompt(prompt_tokens), noise, token), count)]


def recorded(decoder: Any, token: list[int], count: int | None = None) -> tuple[list[np.ndarray], np.ndarray]:
    """The first `count` pieces that a decoder says, and the mel that it vocoded."""
    with mock.patch.object(decoder.vocoder, "step", wraps=decoder.vocoder.step) as step:
        pieces = spoken(decoder, token, count=count)
    return pieces, np.concatenate([np.array(call.args[1]) for call in step.call_args_list], axis=1)


@cache
def golden_run(name: str, size: str, count: int | None) -> tuple[list[np.ndarray], np.ndarray]:
    """The first `count` pieces of a golden run, and the mel that was vocoded."""
    networks = flow_dit.whole(size), vocoder(size)
    if name == "stream":
        return recorded(OfficialDecoder(*networks), support.tokens(), count)
    return recorded(OfflineDecoder(*networks, speed=support.RUNS[name]), support.tokens())


@support.GOLDEN_RUNS
def test_official_mel(name: str, size: str, count: int | None) -> None:
    pieces, mel = golden_run(name, size, count)
    file = golden(f"stream3.{size}")
    assert [piece.shape[1] for piece in pieces] == file[f"{name}/chunk_samples"][:count].tolist()
    assert mel.shape[1] == file[f"{name}/vocoder_frames"][:count][-1]
    assert_close(mel.transpose(0, 2, 1), file[f"{name}/mel"][:, :, : mel.shape[1]], 2e-3, f"{name}/mel")


@pytest.mark.parametrize("name", support.RUNS)
def test_official_samples(name: str) -> None:
    """Where the phase has added up what float32 loses in the mel."""
    stream3.assert_official(name, "tiny", golden_run(name, "tiny", None)[0])


@SIZES
def test_pieces_of_the_official_mel(size: str) -> None:
    """With no error of the flow for the phase to add up: noise that begins anew with every piece is seen here."""
    pieces, file = CausalVocoder(vocoder(size)), golden(f"stream3.{size}")
    state, mel, wavs = pieces.start(), mx.array(file["stream/mel"].transpose(0, 2, 1)), []
    for start, end in pairwise([0, *file["stream/vocoder_frames"].tolist()]):
        wav, state = pieces.step(state, mel[:, start:end], noise, final=end == mel.shape[1])
        wavs.append(np.array(wav))
    assert [len(wav) for wav in wavs] == file["stream/chunk_samples"].tolist()
    assert_close(np.concatenate(wavs)[None], file["stream/wav"], 5e-4, "stream/wav")


@pytest.mark.parametrize("name", support.RUNS)
def test_the_references_numbers(name: str) -> None:
    stream3.assert_official(name, "tiny", stream3.reference_run(name, "tiny")[0])


@pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.soak)])
def test_incremental_equals_official_streaming(size: str) -> None:
    """But for the last chunk, which official streaming says with full attention.

    The mels, and the samples of one mel in either's pieces: between the samples of two mels the phase adds up the last
    bits in which they differ, as `stream3.source_floor` measures it (0.06 after two chunks, of 0.2 at most).
    """
    official, official_mel = golden_run("stream", size, 2)
    decoder = IncrementalDecoder(flow_dit.whole(size), vocoder(size))
    pieces, mel = recorded(decoder, support.tokens()[:120])
    ends = np.cumsum([piece.shape[1] // FRAME for piece in official[:2]]) + DELAY
    assert sum(piece.shape[1] for piece in pieces) == 2 * FRAME * 120
    assert_close(mel[:, : ends[-1]], official_mel[:, : ends[-1]], 2e-3, "the mel of the first two chunks")
    again = CausalVocoder(vocoder(size))
    state, wavs = again.start(), []
    for start, end in pairwise([0, *ends.tolist()]):
        wav, state = again.step(state, mx.array(mel[:, start:end]), noise, final=False)
        wavs.append(np.array(wav)[None])
    assert [wav.shape[1] for wav in wavs] == [piece.shape[1] for piece in official[:2]]
    whole = np.concatenate(wavs, axis=1)
    found = np.concatenate(pieces, axis=1)[:, : whole.shape[1]]
    assert_close(found, whole, 5e-4, "the samples of the first two chunks")


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 60), st.integers(1, 110), st.sampled_from([25, 50]), st.integers(5, 40))
def test_any_stream_is_as_long_as_its_tokens(prompt_tokens: int, tokens: int, hop: int, first: int) -> None:
    """In incremental streaming it is what chunked attention over the whole says, whatever the hops are."""
    networks, token = (flow_dit.whole(), vocoder()), support.tokens()[:tokens]
    pieces = spoken(IncrementalDecoder(*networks, n_timesteps=1, hop=hop, first=first), token, prompt_tokens)
    other = spoken(IncrementalDecoder(*networks, n_timesteps=1), token, prompt_tokens)
    assert sum(piece.shape[1] for piece in pieces) == 2 * FRAME * tokens
    assert_close(np.concatenate(pieces, axis=1), np.concatenate(other, axis=1), 2e-3, "in other hops")
    official = spoken(OfficialDecoder(*networks, n_timesteps=1), token, prompt_tokens)
    assert sum(piece.shape[1] for piece in official) == 2 * FRAME * tokens
    held_back = [0] if len(official) == 1 else [DELAY * FRAME] + [0] * (len(official) - 2) + [-DELAY * FRAME]
    whole = [piece.shape[1] + held for piece, held in zip(official, held_back, strict=True)]
    assert not any(samples % (2 * FRAME) for samples in whole)


def test_a_state_can_be_continued_twice() -> None:
    decoder, token = OfficialDecoder(flow_dit.whole(), vocoder(), n_timesteps=1), support.tokens()
    _, kept = decoder.step(decoder.start(prompt(), noise), token[:41], final=False)
    one, other = (decoder.step(kept, token[41:60], final=True)[0] for _ in range(2))
    assert mx.array_equal(one, other)
    assert not mx.array_equal(one, decoder.step(kept, token[141:160], final=True)[0])


def test_the_first_piece_waits_until_a_frame_can_be_said() -> None:
    pieces = CausalVocoder(vocoder())
    state, mel = pieces.start(), mx.zeros((1, 20, 80))
    for frames, said in ((3, 0), (0, 0), (5, 0), (1, 1), (0, 0), (11, 11)):
        wav, state = pieces.step(state, mel[:, :frames], noise, final=False)
        assert wav.shape == (said * FRAME,)
    wav, _ = pieces.step(state, mel[:, :0], noise, final=True)
    assert wav.shape == (DELAY * FRAME,)
    wav, _ = pieces.step(pieces.start(), mel[:, :1], noise, final=True)
    assert wav.shape == (FRAME,)


def test_what_is_kept_does_not_grow_with_the_utterance() -> None:
    pieces, sizes = CausalVocoder(vocoder()), []
    state = pieces.start()
    for _ in range(5):
        _, state = pieces.step(state, mx.zeros((1, 20, 80)), noise, final=False)
        sizes.append(state.nbytes)
    assert len(set(sizes[1:])) == 1


def test_the_fixed_noise_goes_on_from_piece_to_piece() -> None:
    draw = fixed_noise.source_noise(mx.random.key(1), 9)
    whole = draw(1000)[1]
    assert mx.array_equal(mx.concatenate([draw(400)[1], draw(600, 400)[1]], axis=1), whole)
