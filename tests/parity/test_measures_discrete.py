"""Measures of tokens, seams and caches: what they must say whatever the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.measures.caches import CacheDifference, cache_diff
from parity.measures.seams import chunk_boundaries, seam_errors
from parity.measures.tokens import first_flip

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


def caches() -> list[dict[str, np.ndarray]]:
    """After three pieces, of which the last one carries nothing on."""
    rng = np.random.default_rng(0)
    return [*({"mel": rng.normal(size=(1, 80, 8)), "speech": rng.normal(size=960)} for _ in range(2)), {}]


def test_caches_equal_their_copy() -> None:
    assert cache_diff(caches(), caches()) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c[1].update(mel=2 * c[1]["mel"]), "cache[1].mel: relative RMS error 1"),
        (lambda c: c[0].pop("speech"), "cache[0].speech: is missing"),
        (
            lambda c: c[0].update(mel=c[0]["mel"][..., 1:]),
            "cache[0].mel: shape [1, 80, 7], the reference's is [1, 80, 8]",
        ),
        (lambda c: c[2].update(mel=np.ones(2)), "cache[2].mel: the reference has none"),
        (lambda c: c[1]["mel"].__setitem__((0, 0, 0), np.nan), "cache[1].mel: holds NaN or infinite values"),
    ],
)
def test_what_differs_in_a_cache_is_named(change: Callable[[Any], object], expected: str) -> None:
    changed = caches()
    change(changed)
    assert [f"{found.path}: {found.reason}" for found in cache_diff(changed, caches())] == [expected]


def test_a_piece_without_a_cache_lacks_all_of_it() -> None:
    assert [found.path for found in cache_diff(caches()[:1], caches())] == ["cache[1].mel", "cache[1].speech"]


@given(st.floats(1e-6, 1), st.floats(1e-6, 1))
def test_a_cache_may_differ_by_its_tolerance(size: float, tolerance: float) -> None:
    found = cache_diff([{"mel": np.full(9, 1 + size)}], [{"mel": np.ones(9)}], tolerance)
    if abs(size - tolerance) > 1e-9:
        assert bool(found) == (size > tolerance)
    assert all(isinstance(entry, CacheDifference) and entry.path == "cache[0].mel" for entry in found)


def test_equal_nan_differ_even_so() -> None:
    nan = [{"mel": np.array([math.nan])}]
    assert cache_diff(nan, nan, tolerance=math.inf)
