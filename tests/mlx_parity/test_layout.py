"""The order of axes is found where one fits, and said to be unknown where none or several do."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlx_parity.pairing.layout import aligned, arrange, find_layout

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True)


def noisy(array: np.ndarray, steps: float = 1.0) -> np.ndarray:
    """The same with so many rounding steps of noise."""
    rng = np.random.default_rng(1)
    return (array * (1 + steps * 2**-23 * rng.standard_normal(array.shape))).astype(np.float32)


@given(lengths, st.data())
def test_any_order_of_axes_of_unlike_lengths_is_found(shape: list[int], data: st.DataObject) -> None:
    exact = np.random.default_rng(0).standard_normal(shape)
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    actual = noisy(exact).transpose(np.argsort(order))
    assert find_layout(actual, noisy(exact, 0.5), exact, dtype="float32").order == order


@given(st.integers(2, 5), st.data())
def test_any_order_of_axes_of_one_length_is_found_by_the_numbers(length: int, data: st.DataObject) -> None:
    exact = np.random.default_rng(0).standard_normal((length,) * 3)
    order = tuple(data.draw(st.permutations(range(3))))
    actual = noisy(exact).transpose(np.argsort(order))
    assert find_layout(actual, noisy(exact, 0.5), exact, dtype="float32").order == order


def test_numbers_that_fit_in_several_orders_say_nothing() -> None:
    exact = np.add.outer(np.arange(4.0), np.arange(4.0))
    found = find_layout(exact.astype(np.float32), exact.astype(np.float32), exact, dtype="float32")
    assert found.order is None
    assert "2 orders of its axes fit alike" in found.reason


def test_numbers_that_fit_in_no_order_say_so() -> None:
    exact = np.random.default_rng(0).standard_normal((3, 4))
    other = np.random.default_rng(2).standard_normal((4, 3)).astype(np.float32)
    found = find_layout(other, exact.astype(np.float32), exact, dtype="float32")
    assert found.order is None
    assert "none of 1 orders" in found.reason
    assert "no order of axes takes shape [12]" in find_layout(other.reshape(12), other, other, dtype="float32").reason


@given(lengths, st.data())
def test_an_arrangement_can_be_undone(shape: list[int], data: st.DataObject) -> None:
    right = np.random.default_rng(0).standard_normal(shape)
    own = right.transpose(data.draw(st.permutations(range(len(shape)))))
    if data.draw(st.booleans()):
        own = own[None]
    found = arrange(own, right)
    assert found is not None
    np.testing.assert_array_equal(found.to_reference(own, right.shape), right)
    np.testing.assert_array_equal(found.from_reference(right, own.shape), own)


def test_axes_that_are_merged_are_split() -> None:
    right = np.random.default_rng(0).standard_normal((2, 5, 3))
    np.testing.assert_array_equal(aligned(right.reshape(10, 3), right), right)


def test_what_is_wrong_in_any_order_keeps_the_right_shape() -> None:
    right = np.random.default_rng(0).standard_normal((2, 5, 3))
    for order in permutations(range(3)):
        wrong = np.random.default_rng(9).standard_normal((2, 5, 3)).transpose(order)
        assert aligned(wrong, right).shape == right.shape
