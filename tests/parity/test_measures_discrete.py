"""Measures of tokens, seams and caches: what they must say whatever the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.measures import CacheDifference, cache_diff, chunk_boundaries, first_flip, seam_errors

TOKENS = st.lists(st.integers(0, 9), max_size=12)


@given(TOKENS)
def test_equal_tokens_have_no_flip(tokens: list[int]) -> None:
    assert first_flip(np.array(tokens, int), np.array([tokens], int)) is None


@given(TOKENS, TOKENS)
def test_the_first_flip_is_where_the_common_prefix_ends(one: list[int], other: list[int]) -> None:
    flip, back = first_flip(np.array(one, int), np.array(other, int)), first_flip(np.array(other), np.array(one))
    if one == other:
        assert flip is None
        return
    assert flip is not None
    assert back is not None
    assert (flip.step, flip.actual, flip.expected) == (back.step, back.expected, back.actual)
    assert one[: flip.step] == other[: flip.step]
    assert one[flip.step : flip.step + 1] != other[flip.step : flip.step + 1]


@pytest.mark.parametrize("tie", [True, False])
def test_a_flip_is_a_near_tie_where_its_flag_says_so(tie: bool) -> None:
    rows = np.log([[[0.5, 0.3, 0.2]], [[0.2, 0.5, 0.3]]]).reshape(1, 2, 3)
    flip = first_flip(np.array([0, 2]), np.array([0, 1]), log_probs=rows, near_ties=np.array([[not tie, tie]]))
    assert flip is not None
    assert flip.near_tie is tie
    assert flip.logit_margin == pytest.approx(math.log(0.5 / 0.3))


@pytest.mark.parametrize(("actual", "expected"), [([4], [4, 5]), ([4, 5], [4])])
def test_an_early_end_is_no_near_tie(actual: list[int], expected: list[int]) -> None:
    flip = first_flip(np.array(actual), np.array(expected), near_ties=np.ones(len(expected), bool))
    assert flip is not None
    assert flip.step == 1
    assert None in (flip.actual, flip.expected)
    assert not flip.near_tie


def test_without_flags_there_are_no_ties() -> None:
    flip = first_flip(np.array([4]), np.array([5]))
    assert flip is not None
    assert not flip.near_tie


@given(st.integers(1, 300), st.integers(1, 60), st.integers(0, 300))
def test_chunks_meet_on_one_grid_with_the_prompt(length: int, chunk: int, offset: int) -> None:
    grid = [place - offset for place in range(0, offset + length, chunk)]
    assert chunk_boundaries(length, chunk, offset) == [place for place in grid if place > 0]


@given(st.integers(1, 9), st.sampled_from([50, 100, 150]), st.floats(1e-6, 10))
def test_a_seam_shows_at_its_boundary_alone(window: int, place: int, size: float) -> None:
    expected = np.random.default_rng(0).normal(size=(1, 80, 200))
    actual = expected.copy()
    actual[..., place] += size
    seams = seam_errors(actual, expected, [50, 100, 150], window)
    assert seams.elsewhere == 0
    assert seams.worst == math.inf
    assert [error > 0 for error in seams.error] == [boundary == place for boundary in (50, 100, 150)]


@given(st.floats(1e-9, 10))
def test_an_even_error_is_no_seam(size: float) -> None:
    expected = np.ones((1, 1, 200))
    seams = seam_errors(expected + size, expected, [50, 100], 4)
    assert seams.worst == pytest.approx(1)


@given(st.floats(1e-3, 1e3))
def test_seams_do_not_depend_on_loudness(gain: float) -> None:
    expected, noise = np.random.default_rng(0).normal(size=(2, 80, 200))
    one = seam_errors(expected + noise, expected, [50, 150], 4)
    other = seam_errors(gain * (expected + noise), gain * expected, [50, 150], 4)
    assert other.error == pytest.approx(one.error)
    assert other.elsewhere == pytest.approx(one.elsewhere)


def test_seams_without_a_boundary_or_without_a_rest() -> None:
    signal = np.ones((1, 10))
    assert seam_errors(signal, signal, [], 3).worst == 0
    covered = seam_errors(2 * signal, signal, [5], 10)
    assert covered.elsewhere is None
    assert covered.error == [pytest.approx(1)]


def test_bad_seam_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"inside the 10 frames or samples, \[10\] do not"):
        seam_errors(np.ones(10), np.ones(10), [5, 10], 1)
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        seam_errors(np.ones(10), np.ones(10), [5], 0)
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        chunk_boundaries(10, 0)


def cache() -> dict[str, object]:
    rng = np.random.default_rng(0)
    layers = [{"keys": rng.normal(size=(1, 2, 5, 4)), "values": rng.normal(size=(1, 2, 5, 4))} for _ in range(3)]
    return {"layers": layers, "offset": 5, "mel": np.zeros((1, 80, 8), np.float32), "speech": None, "ids": np.arange(4)}


def test_a_cache_equals_its_copy() -> None:
    assert cache_diff(cache(), cache()) == []
    assert cache_diff((1, [2.5, "a"]), [1, (2.5, "a")]) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda c: c["layers"][1].update(keys=2 * c["layers"][1]["keys"]),
            "cache.layers[1].keys: relative RMS error 1",
        ),
        (lambda c: c["layers"][2].pop("values"), "cache.layers[2].values: is missing"),
        (lambda c: c["layers"].pop(), "cache.layers: 2 entries, the reference has 3"),
        (lambda c: c.update(offset=6), "cache.offset: 1 of 1 values differ"),
        (lambda c: c.update(mel=c["mel"][..., 1:]), "cache.mel: shape [1, 80, 7], the reference's is [1, 80, 8]"),
        (lambda c: c.update(speech=np.ones(2)), "cache.speech: is an array of shape [2], the reference's is None"),
        (lambda c: c.update(ids=np.array([0, 1, 3, 2])), "cache.ids: 2 of 4 values differ"),
        (lambda c: c.update(more=1), "cache.more: the reference has none"),
        (lambda c: c["mel"].__setitem__((0, 0, 0), np.nan), "cache.mel: holds NaN or infinite values"),
    ],
)
def test_what_differs_in_a_cache_is_named(change: Callable[[Any], object], expected: str) -> None:
    changed = cache()
    change(changed)
    assert [f"{found.path}: {found.reason}" for found in cache_diff(changed, cache())] == [expected]


@given(st.floats(1e-6, 1), st.floats(1e-6, 1))
def test_a_cache_may_differ_by_its_tolerance(size: float, tolerance: float) -> None:
    found = cache_diff([np.full(9, 1 + size)], [np.ones(9)], tolerance)
    if abs(size - tolerance) > 1e-9:
        assert bool(found) == (size > tolerance)
    assert all(isinstance(entry, CacheDifference) and entry.path == "cache[0]" for entry in found)


def test_equal_nan_differ_even_so() -> None:
    assert cache_diff(np.array([np.nan]), np.array([np.nan]))
    assert cache_diff(math.nan, math.nan, tolerance=math.inf)
