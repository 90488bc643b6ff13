"""CosyVoice3's vocoder in MLX: in pieces it says what it says in one run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.nn.cache import Cache, CacheState
from mlx_cosyvoice.vocoder import CausalHiFTGenerator
from tests.conformance.networks import network
from tests.support import hift3 as support
from tests.support.golden import assert_close, golden, recipe_state_dict

FRAMES = support.FRAMES
#: Products of another number of rows are summed in another order.
SAME = 5e-5


@cache
def vocoder(size: str = "tiny") -> CausalHiFTGenerator:
    return load_official(CausalHiFTGenerator(support.CONFIGS[size]), recipe_state_dict(f"hift3.{size}"))


def mel(start: int, end: int) -> mx.array:
    return mx.array(support.mel()[:, :, start:end].transpose(0, 2, 1))


def draws(start: int, end: int) -> dict[str, Any]:
    """Those of the source's frames from `start` to `end`."""
    drawn = support.draws(end)
    return {
        "rand_ini": mx.array(drawn["rand_ini"]),
        "sine_noise": mx.array(drawn["sine_noise"][:, start * 480 : end * 480]),
    }


@cache
def at_once(frames: int = FRAMES, size: str = "tiny") -> tuple[np.ndarray, np.ndarray]:
    """Samples and source of one run."""
    wav, source = vocoder(size)(mel(0, frames), **draws(0, frames))
    return np.array(wav), np.array(source)


class Utterance:
    """Frames that come one piece after the other."""

    def __init__(self, size: str = "tiny", whole: np.ndarray | None = None) -> None:
        self.hift, self.known = vocoder(size), 0
        self.mel = mx.array((support.mel() if whole is None else whole).transpose(0, 2, 1))
        self.state: CacheState | None = None

    def say(self, frames: int, *, finalize: bool) -> tuple[np.ndarray, np.ndarray]:
        """Samples and source of the next piece."""
        run = Cache(self.state)
        before = 0 if self.state is None else self.state.position
        sourced = before + self.hift.sourced(frames, first=self.state is None, finalize=finalize)
        how = draws(before, max(before, sourced))
        piece = self.mel[:, self.known : self.known + frames]
        wav, source = self.hift(piece, **how, finalize=finalize, cache=run)
        self.state, self.known = run.state, self.known + frames
        mx.eval(wav, source, list(self.state.arrays()))
        assert self.state.position == sourced
        return np.array(wav), np.array(source)


def in_pieces(
    sizes: Sequence[int], size: str = "tiny", whole: np.ndarray | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    utterance = Utterance(size, whole)
    return [utterance.say(frames, finalize=number == len(sizes)) for number, frames in enumerate(sizes, 1)]


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.slow)])
def test_pieces_are_the_official_stream(size: str) -> None:
    """What the official loop says when it starts anew with the whole mel at every call."""
    ends = [end for end, _ in support.CALLS]
    pieces = in_pieces(np.diff([0, *ends]).tolist(), size)
    assert [wav.shape[1] for wav, _ in pieces] == golden(f"hift3.{size}").metadata["checks"]["chunk samples"]
    expected = golden(f"hift3.{size}")["wav/stream_chunks"]
    assert_close(joined([wav for wav, _ in pieces]), expected, 5e-4, "wav/stream_chunks")


@pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.slow)])
def test_eight_seconds_are_the_official_stream(size: str) -> None:
    file = golden(f"stream3.{size}")
    sizes = np.diff([0, *file["stream/vocoder_frames"]]).tolist()
    wavs, _ = zip(*in_pieces(sizes, size, support.spoken_mel(size, "stream")), strict=True)
    assert [wav.shape[1] for wav in wavs] == file["stream/chunk_samples"].tolist()
    assert_close(joined(wavs), file["stream/wav"], 5e-4, "stream/wav")


@settings(max_examples=12, deadline=None)
@given(st.integers(9, FRAMES), st.lists(st.integers(1, FRAMES), max_size=6), st.integers(0, 20))
def test_any_pieces_are_one_run(first: int, between: list[int], last: int) -> None:
    sizes = [first, *between, last]
    while sum(sizes) > FRAMES:
        sizes.pop(1 if len(sizes) > 2 else -1)
    wavs, sources = zip(*in_pieces(sizes), strict=True)
    wav, source = at_once(sum(sizes))
    assert_close(joined(wavs), wav, SAME, f"samples of {sizes}")
    assert_close(joined(sources), source, 1e-6, f"source of {sizes}")


def test_the_source_is_reflected_at_both_ends() -> None:
    source = mx.array(at_once()[1]).squeeze(-1)
    made = vocoder().source_spectrum(source, True, None)
    assert_close(made, np.array(vocoder().stft.forward(source)), 1e-6, "spectrum")


def test_a_run_that_is_not_final_is_the_head_of_the_whole() -> None:
    wav, source = vocoder()(mel(0, FRAMES), **draws(0, FRAMES - 3), finalize=False)
    assert (wav.shape, source.shape) == ((1, 480 * 52), (1, 480 * 57, 1))
    assert_close(wav, at_once()[0][:, : 480 * 52], SAME, "wav")


def test_the_state_stays_small_and_can_be_continued_twice() -> None:
    utterance, sizes = Utterance(), list[int]()
    for _ in range(4):
        utterance.say(12, finalize=False)
        assert utterance.state is not None
        sizes.append(utterance.state.nbytes)
    assert max(sizes) < 100_000
    assert len(set(sizes)) == 1
    kept = (utterance.state, utterance.known)
    first, _ = utterance.say(12, finalize=True)
    utterance.state, utterance.known = kept
    assert_close(utterance.say(12, finalize=True)[0], first, 1e-6, "again")


@pytest.mark.parametrize(("frames", "message"), [(8, "T >= 9"), (0, "T >= 9")])
def test_a_first_piece_that_says_nothing_is_refused(frames: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Utterance().say(frames, finalize=False)


def test_a_later_piece_must_have_a_frame() -> None:
    utterance = Utterance()
    utterance.say(20, finalize=False)
    with pytest.raises(ValueError, match="T >= 1"):
        utterance.say(0, finalize=False)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_runs(dtype: mx.Dtype) -> None:
    half = load_official(CausalHiFTGenerator(support.CONFIGS["tiny"]), recipe_state_dict("hift3.tiny"))
    half.set_dtype(dtype)
    wav, source = half(mel(0, FRAMES), **draws(0, FRAMES))
    assert wav.dtype == source.dtype == mx.float32
    assert mx.isfinite(wav).all()


def test_f0_is_computed_in_float64() -> None:
    """Every layer hands on float64, and what comes out is the official f0 but for its last bit."""
    predictor = vocoder().f0_predictor
    first, *others = predictor.condnet.layers()
    x = first(mel(0, FRAMES))
    for layer in others:
        assert x.dtype == mx.float64
        x = layer(x)
    assert x.dtype == mx.float64
    assert predictor(mel(0, FRAMES)).dtype == mx.float32


def test_weight_norm_is_in_float64() -> None:
    """The weights themselves could not hold it: the product of gain and direction needs more bits than float32 has."""
    ours = vocoder().f0_predictor.condnet[2]
    theirs = network("pytorch", "hift3", "tiny").module.f0_predictor.condnet[2]
    x = np.random.default_rng(0).standard_normal((1, 7, 32))
    expected = theirs(torch.from_numpy(x).mT).mT.detach().numpy()
    np.testing.assert_allclose(np.array(ours(mx.array(x, dtype=mx.float64))), expected, rtol=0, atol=1e-13)
