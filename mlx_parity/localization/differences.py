"""What is wrong with a value that a module was called with: a mask, a number, a flag, or an array."""

from __future__ import annotations

import numpy as np

from mlx_parity.compare import Verdict, allowed, dtype_of, judge, within
from mlx_parity.localization.isolate import OPAQUE, Value, is_nothing


def differs(actual: Value, expected: Value, exact: Value, *, dtype: str, factor: float) -> str:
    """What is wrong with a value, or nothing.

    Args:
        actual: the port's.
        expected: the reference's in the working dtype.
        exact: the same in float64.
        dtype: the working dtype of the stage.
        factor: allowed error in noise floors.
    """
    if actual is OPAQUE or expected is OPAQUE:
        return ""
    if isinstance(expected, tuple) and isinstance(actual, tuple) and len(actual) == len(expected):
        problems = [differs(*items, dtype=dtype, factor=factor) for items in zip(actual, expected, exact, strict=True)]
        return next(filter(None, problems), "")
    if isinstance(expected, np.ndarray) and isinstance(actual, np.ndarray):
        return _array_differs(actual, expected, exact, dtype, factor)
    if is_nothing(actual) and is_nothing(expected):
        return ""
    if isinstance(expected, np.ndarray) or isinstance(actual, np.ndarray):
        return f"is {_describe(actual)}, the reference's is {_describe(expected)}"
    if actual == expected:
        return ""
    return f"is {actual!r}, the reference's is {expected!r}"


def _array_differs(actual: np.ndarray, expected: np.ndarray, exact: Value, dtype: str, factor: float) -> str:
    if expected.dtype == bool or actual.dtype == bool:
        actual, expected = (np.squeeze(allowed(mask)) for mask in (actual, expected))
        actual, expected = _broadcast(actual, expected)
        if actual.shape != expected.shape:
            return f"has shape {list(actual.shape)}, the reference's {list(expected.shape)}"
        count = int((actual != expected).sum())
        last = [int(np.atleast_2d(mask)[..., -1, :].sum()) for mask in (actual, expected)]
        seen = f", at the end it lets {last[0]} through, the reference's {last[1]}"
        return f"differs in {count} of {expected.size} places{seen}" if count else ""
    if not np.issubdtype(expected.dtype, np.floating):
        return "" if np.array_equal(np.squeeze(actual), np.squeeze(expected)) else "holds other numbers"
    values = [np.squeeze(value) for value in (actual, expected, exact)]  # sides may broadcast over other axes
    dtype = dtype_of(expected, dtype)
    if within(*values, dtype=dtype, factor=factor):
        return ""
    layer = judge("", "argument", *values, dtype=dtype, factor=factor)
    return "" if layer.verdict is Verdict.PASS else f"is wrong: {layer.words}"


def _broadcast(mask: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, ...]:
    """Two masks of one shape, where one of them is the same for all queries; else as they are."""
    try:
        return tuple(np.broadcast_arrays(mask, other))
    except ValueError:
        return mask, other


def _describe(value: Value) -> str:
    return f"a tensor of shape {list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)
