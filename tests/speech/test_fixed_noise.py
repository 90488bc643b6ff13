"""The causal vocoder's noise is, to the last bit, what PyTorch draws when the published YAML builds the vocoder."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.speech.fixed_noise import DRAWN_BEFORE, HARMONICS, SAMPLES, rand_ini, sine_waves
from tests.support.golden import golden


def test_initial_phases() -> None:
    np.testing.assert_array_equal(rand_ini(), golden("noise3")["rand_ini"])
    assert sum(golden("noise3").metadata["draws_before_rand_ini"].values()) == DRAWN_BEFORE


def test_the_first_samples() -> None:
    np.testing.assert_array_equal(sine_waves(0, 64), golden("noise3")["sine_waves/head"])


def test_samples_of_the_first_half_minute() -> None:
    positions, values = golden("noise3")["sine_waves/positions"], golden("noise3")["sine_waves/values"]
    early = positions < 30 * 24000 * HARMONICS
    assert early.sum() > 300
    drawn = np.concatenate([sine_waves(start, 50_000) for start in range(0, 30 * 24000, 50_000)], axis=1).reshape(-1)
    np.testing.assert_array_equal(drawn[positions[early]], values[early])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100_000), st.integers(0, 3000))
def test_any_rows_are_those_of_one_draw(start: int, count: int) -> None:
    whole = np.array(sine_waves(0, 103_000))
    np.testing.assert_array_equal(sine_waves(start, count), whole[:, start : start + count])


@pytest.mark.slow
def test_every_sample() -> None:
    digest = hashlib.sha256()
    for start in range(0, SAMPLES, 100_000):
        digest.update(np.array(sine_waves(start, 100_000)).tobytes())
    assert digest.hexdigest() == golden("noise3").metadata["sine_waves_sha256"]
    assert list(golden("noise3").metadata["sine_waves_shape"]) == [1, SAMPLES, HARMONICS]


@pytest.mark.parametrize(("start", "count"), [(SAMPLES - 1, 2), (-1, 1), (3, -1)])
def test_there_is_no_more_than_five_minutes(start: int, count: int) -> None:
    with pytest.raises(ValueError, match=r"the vocoder's noise has 7200000 \(300 s\)"):
        sine_waves(start, count)
