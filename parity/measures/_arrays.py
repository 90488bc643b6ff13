"""What all measures share: two arrays of one shape, and what counts as broken."""

from __future__ import annotations

from typing import Any

import numpy as np


def matched(actual: Any, expected: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 arrays.

    Raises:
        ValueError: the shapes differ, or there is nothing in them.
    """
    a, b = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"{name}: shapes differ, {list(a.shape)} against the reference's {list(b.shape)}")
    if not a.size:
        raise ValueError(f"{name}: nothing to compare, the shape is {list(a.shape)}")
    return a, b


def finite(*arrays: np.ndarray) -> bool:
    """Whether no array holds a NaN or an infinity."""
    return all(bool(np.isfinite(array).all()) for array in arrays)


def rms(x: np.ndarray) -> float:
    """Root mean square, without overflow or underflow for any finite input."""
    peak = float(np.abs(x).max(initial=0))
    return peak * float(np.sqrt(np.mean(np.square(x / peak)))) if peak else 0.0
