"""The order of axes is found where one fits, and not taken for known where none or several do."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import mlx.nn as nn
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlx_parity.pairing.layout import Arrangement, aligned, arrange
from mlx_parity.sides.layouts import Layouts

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True)


def noisy(array: np.ndarray) -> np.ndarray:
    """The same with a rounding step of noise."""
    rng = np.random.default_rng(1)
    return (array * (1 + 2**-23 * rng.standard_normal(array.shape))).astype(np.float32)


@given(lengths, st.data())
def test_any_order_of_axes_of_unlike_lengths_is_found(shape: list[int], data: st.DataObject) -> None:
    right = np.random.default_rng(0).standard_normal(shape)
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    own = noisy(right).transpose(np.argsort(order))
    assert arrange(own, right) == Arrangement(own.shape, order)


@given(st.integers(2, 5), st.data())
def test_any_order_of_axes_of_one_length_is_found_by_the_numbers(length: int, data: st.DataObject) -> None:
    right = np.random.default_rng(0).standard_normal((length,) * 3)
    order = tuple(data.draw(st.permutations(range(3))))
    assert arrange(noisy(right).transpose(np.argsort(order)), right) == Arrangement(right.shape, order)


def test_numbers_that_fit_in_several_orders_say_nothing_of_the_layout() -> None:
    right = np.add.outer(np.arange(4.0), np.arange(4.0))
    found = arrange(right.astype(np.float32), right)
    assert found is not None
    assert not found.sure
    layer, noted = nn.Linear(4, 4), dict[Any, Any]()
    Layouts(noted).to_reference(layer, right, right, incoming=False)
    assert not noted
    other = np.random.default_rng(0).standard_normal((4, 4))
    Layouts(noted).to_reference(layer, other.T, other, incoming=False)
    assert list(noted.values()) == [(1, 0)]


def test_numbers_that_fit_in_no_order_have_no_layout() -> None:
    right = np.random.default_rng(0).standard_normal((3, 4, 4))
    assert arrange(np.random.default_rng(2).standard_normal((4, 3, 4)), right) is None
    assert arrange(right[:2], right) is None


def test_what_is_of_another_length_has_the_order_that_was_found_of_what_went_in() -> None:
    conv = nn.Conv1d(8, 8, 3)
    value = np.random.default_rng(0).standard_normal((1, 8, 12))
    layouts = Layouts({})
    layouts.to_reference(conv, value.transpose(0, 2, 1), value, incoming=True)
    shorter = np.zeros((1, 10, 8))
    assert layouts.to_reference(conv, shorter, value, incoming=False).shape == (1, 8, 10)
    np.testing.assert_array_equal(layouts.from_reference(conv, shorter, value, False), value.transpose(0, 2, 1))


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
