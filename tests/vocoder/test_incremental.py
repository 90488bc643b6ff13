"""The vocoder in steps says what it says in one run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.config import HiFTConfig
from mlx_cosyvoice.decoding.incremental.vocoder import IncrementalVocoder, receptive_frames
from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.vocoder import HiFTGenerator
from reference.synthetic import recipe
from tests.support.golden import assert_close, recipe_state_dict
from tests.support.hift import CONFIGS

#: Sums are ordered differently in windows of another length; f0 passes what that costs on to the phase.
SAME = 2e-3
FRAMES = 130


@cache
def vocoder(size: str = "tiny") -> HiFTGenerator:
    return load_official(HiFTGenerator(CONFIGS[size]), recipe_state_dict(f"hift.{size}"))


def mel(frames: int = FRAMES) -> mx.array:
    drawn = recipe.unit("input/long_mel", (1, 80, frames)).transpose(0, 2, 1)
    return mx.array(np.ascontiguousarray(drawn) * np.float32(2) - np.float32(5))


@cache
def sine_noise() -> mx.array:
    return mx.random.normal((1, FRAMES * 480, 9), key=mx.random.key(2))


@cache
def at_once(frames: int, size: str = "tiny") -> tuple[np.ndarray, np.ndarray]:
    """Samples and source of one run."""
    wav, source = vocoder(size)(
        mel()[:, :frames], rand_ini=mx.full((1, 9), 0.3), sine_noise=sine_noise()[:, : frames * 480]
    )
    return np.array(wav)[0], np.array(source)


class Noise:
    """Hands out the noise of one run, piece by piece."""

    def __init__(self, place: int = 0) -> None:
        self.place = place

    def __call__(self, samples: int) -> tuple[mx.array, mx.array]:
        start, self.place = self.place, self.place + samples
        return mx.zeros((1, 9)), sine_noise()[:, start : self.place]


def in_steps(sizes: Sequence[int], size: str = "tiny") -> list[np.ndarray]:
    stepwise, noise, frame = IncrementalVocoder(vocoder(size)), Noise(), 0
    state, wavs = stepwise.start(), []
    for number, count in enumerate(sizes, 1):
        wav, state = stepwise.step(state, mel()[:, frame : frame + count], noise, final=number == len(sizes))
        wavs.append(np.array(wav))
        frame += count
    return wavs


@pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.slow)])
def test_steps_are_one_run(size: str) -> None:
    wavs = in_steps([50, 50, 30], size)
    delay = IncrementalVocoder(vocoder(size)).delay
    assert [len(wav) // 480 for wav in wavs] == [50 - delay, 50, 30 + delay]
    assert_close(np.concatenate(wavs), at_once(130, size)[0], SAME, "samples")


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=5).filter(lambda sizes: 0 < sum(sizes) <= FRAMES))
def test_any_steps_are_one_run(sizes: list[int]) -> None:
    assert_close(np.concatenate(in_steps(sizes)), at_once(sum(sizes))[0], SAME, f"samples of {sizes}")


def test_the_source_goes_on_in_phase() -> None:
    stepwise, noise = IncrementalVocoder(vocoder()), Noise()
    state = stepwise.start()
    for start, end in ((0, 40), (40, 41), (41, 90)):
        _, state = stepwise.step(state, mel()[:, start:end], noise, final=False)
        samples = slice(state.start * 480, (end - stepwise.source_delay) * 480)
        assert_close(state.source, at_once(130)[1][:, samples], SAME, f"source up to {end}")


def test_what_lies_out_of_reach_does_not_count() -> None:
    """The last frame that comes out depends on frames up to `delay` after it, and on no other."""
    stepwise = IncrementalVocoder(vocoder())
    changed = mx.concatenate([mel()[:, :61], mel()[:, 61:] + 1], axis=1)
    how: dict[str, Any] = {"rand_ini": mx.zeros((1, 9)), "sine_noise": sine_noise()}
    before, after = (np.array(vocoder()(frames, **how)[0])[0] for frames in (mel(), changed))
    different = np.flatnonzero(np.abs(before - after) > 1e-6)[0] / 480
    assert 61 - stepwise.delay <= different < 61 - stepwise.source_delay


def test_the_state_stays_small_and_can_be_continued_twice() -> None:
    stepwise = IncrementalVocoder(vocoder())
    state, sizes = stepwise.start(), []
    for start in range(0, 120, 20):
        _, state = stepwise.step(state, mel()[:, start : start + 20], Noise(), final=False)
        sizes.append(state.nbytes)
    assert max(sizes) < 200_000
    assert len(set(sizes[3:])) == 1
    first, second = (stepwise.step(state, mel()[:, 120:], Noise(), final=True)[0] for _ in range(2))
    assert_close(second, np.array(first), 1e-5, "again")


def test_reach_is_that_of_the_network() -> None:
    assert receptive_frames(HiFTConfig()) == 15
    assert IncrementalVocoder(vocoder()).source_delay == 6


def test_a_mel_of_another_shape_is_refused() -> None:
    stepwise = IncrementalVocoder(vocoder())
    with pytest.raises(ValueError, match=r"mel must be \[1, T, 80\], not \[1, 80, 5\]"):
        stepwise.step(stepwise.start(), mx.zeros((1, 80, 5)), Noise(), final=True)
