"""What was computed in float64, held as its distance from what was computed in the working dtype: half the memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Beside:
    """An array of float64. `near` is one of float32 close to it, `distance` the rest in float32.

    Rounding the rest, which is about a noise floor, changes floors in the eighth digit.
    """

    near: np.ndarray
    distance: np.ndarray

    def array(self) -> np.ndarray:
        return self.near.astype(np.float64) + self.distance


def beside(exact: np.ndarray, near: Any) -> np.ndarray | Beside:
    """`exact` next to an array that is held anyway; as it is where that is no close one."""
    if exact.dtype != np.float64 or getattr(near, "dtype", None) != np.float32 or exact.shape != near.shape:
        return exact
    with np.errstate(over="ignore", invalid="ignore"):
        distance = (exact - near).astype(np.float32)
    return Beside(near, distance) if np.isfinite(distance).all() else exact


def whole(value: Any) -> Any:
    """A value, or several in tuples, with its arrays of float64 as such."""
    if isinstance(value, tuple):
        return tuple(map(whole, value))
    return value.array() if isinstance(value, Beside) else value
