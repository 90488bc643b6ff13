"""Says in words how a tensor differs from the official one."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations

import mlx.core as mx
import numpy as np

from mlx_parity.compare import EPSILON

#: Numbers that are compared before whole tensors are.
HEAD = 256


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """A float32 array in the numbers of another dtype."""
    if dtype == "float32":
        return np.asarray(array, np.float32)
    return np.array(mx.array(np.asarray(array, np.float32)).astype(getattr(mx, dtype)).astype(mx.float32))


def evidence(found: np.ndarray, official: np.ndarray, dtype: str, others: Iterable[tuple[str, np.ndarray]]) -> str:
    """What was done to the official tensor to become the one that was found.

    Args:
        found: float32.
        official: in its layout, not rounded yet.
        dtype: of the stored tensor.
        others: name -> official tensor, of those of the same shape.
    """
    if found.shape != official.shape:
        return f"has shape {list(found.shape)}, the official one {list(official.shape)}"
    bad = int(np.sum(~np.isfinite(found)))
    if bad:
        return f"{bad} of {found.size} values are NaN or infinite"
    expected = rounded(official, dtype)
    return (
        _twin(found, dtype, others)
        or _rearranged(found, expected)
        or _computed(found, expected, official, dtype)
        or _count(found, expected)
    )


def _twin(found: np.ndarray, dtype: str, others: Iterable[tuple[str, np.ndarray]]) -> str:
    start = found.reshape(-1)[:HEAD]
    if np.ptp(start) == 0:
        return ""
    for name, other in others:
        head = rounded(other.reshape(-1)[:HEAD] if other.size <= HEAD else np.array(other.flat[:HEAD]), dtype)
        if np.array_equal(head, start) and np.array_equal(rounded(other, dtype), found):
            return f"equals {name}"
    return ""


def _rearranged(found: np.ndarray, expected: np.ndarray) -> str:
    for order in permutations(range(found.ndim)):
        if order != tuple(range(found.ndim)) and np.array_equal(found, expected.transpose(order)):
            return "transposed" if found.ndim == 2 else f"its axes are in the order {list(order)}"
    for axis, size in enumerate(found.shape):
        if np.array_equal(found, np.flip(expected, axis)):
            return f"reversed along axis {axis}"
        moved = _moved(np.moveaxis(found, axis, 0).reshape(size, -1), np.moveaxis(expected, axis, 0).reshape(size, -1))
        if moved:
            return f"{moved} along axis {axis}"
    return ""


def _moved(found: np.ndarray, expected: np.ndarray) -> str:
    """Whether rows stand in other places."""
    wrong = np.flatnonzero((found != expected).any(axis=1))
    if len(wrong) == 2 and np.array_equal(found[wrong], expected[wrong[::-1]]):
        return f"{wrong[0]} and {wrong[1]} are exchanged"
    for shift in (1, -1):
        if len(wrong) > 2 and np.array_equal(found, np.roll(expected, shift, axis=0)):
            return f"shifted by {shift}"
    return ""


def _computed(found: np.ndarray, expected: np.ndarray, official: np.ndarray, dtype: str) -> str:
    """Whether it is a multiple, a sum, a constant, or rounded once more."""
    if found.size == 1:
        return ""
    if np.ptp(found) == 0:
        return f"is {found.flat[0] + 0.0:.6g} throughout"
    for coarser in ("bfloat16", "float16"):
        if coarser != dtype and np.array_equal(found, rounded(rounded(official, coarser), dtype)):
            return f"rounded to {coarser}"
    exact, wide = official.astype(np.float64), found.astype(np.float64)
    factor = float((wide * exact).sum() / max(np.square(exact).sum(), np.finfo(float).tiny))
    step = 2 * EPSILON[dtype]
    if np.all(np.abs(wide - factor * exact) <= step * np.abs(factor * exact) + np.finfo(np.float16).smallest_subnormal):
        return f"times {factor:.{6 if dtype == 'float32' else 4}g}"
    offset = float((wide - exact).mean())
    if np.all(np.abs(wide - exact - offset) <= step * (np.abs(exact) + abs(offset))):
        return f"plus {offset:.4g}"
    return ""


def _count(found: np.ndarray, expected: np.ndarray) -> str:
    wrong = np.argwhere(found != expected)
    first, largest = wrong[0].tolist(), np.abs(found - expected).max()
    return f"{len(wrong)} of {found.size} values differ, first at {first}, by up to {largest:.3g}"
