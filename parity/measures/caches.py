"""What differs between two caches: the state that a stream carries from piece to piece."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlx_parity.compare import relative_rms

#: What is carried on after each piece, by name.
Caches = Sequence[Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class CacheDifference:
    """One array that differs. `path` is its place, as in `cache[3].mel`; `error` the relative root mean square."""

    path: str
    reason: str
    error: float = math.inf


def cache_diff(actual: Caches, expected: Caches, tolerance: float = 0.0) -> list[CacheDifference]:
    """Name everything in which the caches of two streams differ, in the order of `expected`.

    Args:
        actual: after each piece.
        expected: likewise.
        tolerance: relative root mean square up to which arrays are the same. Values that are not finite never are.
    """
    mine, theirs = (
        {f"cache[{piece}].{name}": array for piece, cache in enumerate(side) for name, array in cache.items()}
        for side in (actual, expected)
    )
    found = []
    for path, right in theirs.items():
        array = mine.get(path)
        if array is None:
            found.append(CacheDifference(path, "is missing"))
        elif array.shape != right.shape:
            reason = f"shape {list(array.shape)}, the reference's is {list(right.shape)}"
            found.append(CacheDifference(path, reason))
        elif not math.isfinite(error := relative_rms(array, right)):
            found.append(CacheDifference(path, "holds NaN or infinite values"))
        elif error > tolerance:
            found.append(CacheDifference(path, f"relative RMS error {error:.3g}", error))
    return found + [CacheDifference(path, "the reference has none") for path in mine if path not in theirs]
