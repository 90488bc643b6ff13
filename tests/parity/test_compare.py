"""The measures of the parity harness: what they must be whatever the numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlx_parity.compare import FACTOR, Verdict, compare, judge, relative_rms, worst

ARRAYS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=6),
    elements=st.floats(-1e3, 1e3, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3),
)


@given(ARRAYS)
def test_equal_input_has_no_error(a: np.ndarray) -> None:
    difference = compare(a, a)
    assert difference.max_abs == difference.relative_rms == 0
    assert difference.snr_db == math.inf
    assert difference.cosine == pytest.approx(1)


@given(ARRAYS, st.integers(0, 2**32 - 1))
def test_symmetric_where_it_should_be(a: np.ndarray, seed: int) -> None:
    b = a + np.random.default_rng(seed).normal(size=a.shape).astype(np.float32)
    one, other = compare(a, b), compare(b, a)
    assert one.max_abs == other.max_abs
    assert one.cosine == pytest.approx(other.cosine)
    assert (one.mean, one.std) == (other.mean_reference, other.std_reference)


@given(ARRAYS, st.randoms(use_true_random=False), st.integers(0, 2**32 - 1))
def test_invariant_to_layout(a: np.ndarray, random: object, seed: int) -> None:
    b = a + np.random.default_rng(seed).normal(size=a.shape).astype(np.float32)
    axes = list(range(a.ndim))
    random.shuffle(axes)  # type: ignore[attr-defined]
    one, other = compare(a, b), compare(a.transpose(axes), b.transpose(axes))
    assert one.max_abs == other.max_abs
    assert one.relative_rms == pytest.approx(other.relative_rms)
    assert one.cosine == pytest.approx(other.cosine, abs=1e-9)


@given(ARRAYS, st.sampled_from([math.nan, math.inf, -math.inf]), st.data())
def test_nan_and_infinity_never_pass(a: np.ndarray, value: float, data: st.DataObject) -> None:
    broken = a.copy()
    broken.flat[data.draw(st.integers(0, a.size - 1))] = value
    assert compare(broken, a).nonfinite == 1
    assert judge("layer", "Linear", broken, a, a, dtype="float32").verdict is Verdict.DIVERGED
    # a reference that is not finite proves nothing, even where both sides agree
    assert judge("layer", "Linear", broken, broken, broken, dtype="float32").verdict is Verdict.INCONCLUSIVE


@given(st.floats(1e-6, 1), st.floats(1.01, 100))
def test_snr_falls_as_the_error_grows(size: float, times: float) -> None:
    rng = np.random.default_rng(0)
    a, noise = rng.normal(size=1000), rng.normal(size=1000)
    assert compare(a + size * noise, a).snr_db > compare(a + times * size * noise, a).snr_db


def test_what_was_not_observed_never_passes() -> None:
    a = np.ones(3, np.float32)
    for values in ((None, a, a), (a, None, a), (a, a, None)):
        layer = judge("layer", "Linear", *values, dtype="float32")
        assert layer.verdict is Verdict.INCONCLUSIVE
        assert "not observed" in layer.reason
    assert worst([]) is Verdict.INCONCLUSIVE


def test_another_shape_diverges() -> None:
    a = np.ones((1, 3), np.float32)
    layer = judge("layer", "Linear", a.T, a, a, dtype="float32")
    assert layer.verdict is Verdict.DIVERGED
    assert "[3, 1]" in layer.reason
    with pytest.raises(ValueError, match=r"\[3, 1\] against \[1, 3\]"):
        compare(a.T, a)


def test_the_bound_is_a_multiple_of_the_measured_floor() -> None:
    rng = np.random.default_rng(1)
    exact = rng.normal(size=10_000)
    expected = (exact + 1e-4 * rng.normal(size=exact.size)).astype(np.float32)
    floor = relative_rms(expected, exact)
    within = exact + 0.9 * FACTOR * floor * rng.normal(size=exact.size)
    beyond = exact + 1.1 * FACTOR * floor * rng.normal(size=exact.size)
    assert judge("layer", "Linear", within, expected, exact, dtype="float32").verdict is Verdict.PASS
    assert judge("layer", "Linear", beyond, expected, exact, dtype="float32").verdict is Verdict.DIVERGED


def test_the_worst_verdict_counts() -> None:
    assert worst([Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.DIVERGED]) is Verdict.DIVERGED
    assert worst([Verdict.PASS, Verdict.INCONCLUSIVE]) is Verdict.INCONCLUSIVE
    assert worst([Verdict.PASS]) is Verdict.PASS
    assert [v.exit_code for v in (Verdict.PASS, Verdict.DIVERGED, Verdict.INCONCLUSIVE)] == [0, 1, 2]
