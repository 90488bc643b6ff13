"""What differs between two caches: the state that a stream carries from piece to piece."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlx_parity.compare import relative_rms


@dataclass(frozen=True)
class CacheDifference:
    """One thing that differs. `path` is its place, as in `layers[3].keys`; `error` the relative root mean square."""

    path: str
    reason: str
    error: float = math.inf


def cache_diff(actual: Any, expected: Any, tolerance: float = 0.0, path: str = "cache") -> list[CacheDifference]:
    """Name everything in which two caches differ, in the order of `expected`.

    Args:
        actual: arrays, numbers, flags, strings and None, in any nesting of mappings, lists and tuples (a list and a
            tuple of the same things are the same).
        expected: likewise.
        tolerance: relative root mean square up to which arrays of floats are the same. Integers must be equal.
        path: name of the root.

    Returns:
        Nothing where they are the same. Values that are not finite always differ.
    """
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        return _diff_mapping(actual, expected, tolerance, path)
    if isinstance(actual, (list, tuple)) and isinstance(expected, (list, tuple)):
        if len(actual) != len(expected):
            return [CacheDifference(path, f"{len(actual)} entries, the reference has {len(expected)}")]
        pairs = enumerate(zip(actual, expected, strict=True))
        return [found for place, pair in pairs for found in cache_diff(*pair, tolerance, f"{path}[{place}]")]
    if _numeric(actual) and _numeric(expected):
        return _diff_array(np.asarray(actual), np.asarray(expected), tolerance, path)
    if type(actual) is type(expected) and actual == expected:
        return []
    return [CacheDifference(path, f"is {_describe(actual)}, the reference's is {_describe(expected)}")]


def _diff_mapping(
    actual: Mapping[Any, Any], expected: Mapping[Any, Any], tolerance: float, path: str
) -> list[CacheDifference]:
    found = []
    for key, value in expected.items():
        if key in actual:
            found += cache_diff(actual[key], value, tolerance, f"{path}.{key}")
        else:
            found.append(CacheDifference(f"{path}.{key}", "is missing"))
    found += [CacheDifference(f"{path}.{key}", "the reference has none") for key in actual if key not in expected]
    return found


def _diff_array(a: np.ndarray, b: np.ndarray, tolerance: float, path: str) -> list[CacheDifference]:
    if a.shape != b.shape:
        return [CacheDifference(path, f"shape {list(a.shape)}, the reference's is {list(b.shape)}")]
    floating = [np.issubdtype(side.dtype, np.floating) for side in (a, b)]
    if not any(floating):
        count = int(np.sum(a != b))
        return [CacheDifference(path, f"{count} of {a.size} values differ", count / a.size)] if count else []
    error = relative_rms(a, b)
    if not math.isfinite(error):
        return [CacheDifference(path, "holds NaN or infinite values")]
    return [CacheDifference(path, f"relative RMS error {error:.3g}", error)] if error > tolerance else []


def _numeric(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.number, int, float)) and not isinstance(value, bool)


def _describe(value: Any) -> str:
    return f"an array of shape {list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)
