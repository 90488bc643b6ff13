"""What is known around a place where the two sides part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mlx_parity.compare import relative_rms

#: Places with more numbers than this are left alone: what is tried there would take longer than the run.
MOST = 2_000_000

#: Numbers of an array that are looked at before all of them are.
SAMPLE = 2048


@dataclass(frozen=True)
class Scene:
    """One wrong value, and what both sides could make it of: the same arrays, as every module was fed.

    Attributes:
        actual: the port's.
        exact: the reference's in float64, of the same shape.
        allowed: the relative error that rounding explains.
        sources: name -> array of floats that was there before, latest first.
        parameters: name -> array that the port's module stores, if it is that which is wrong.
        numbers: what the port's module and its parts are set to.
    """

    actual: np.ndarray
    exact: np.ndarray
    allowed: float
    sources: Mapping[str, np.ndarray]
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    numbers: tuple[float, ...] = ()

    def explains(self, made: np.ndarray) -> bool:
        """Whether an array is the reference's, but for rounding."""
        return self.close(made, self.exact)

    def close(self, made: np.ndarray, target: np.ndarray) -> bool:
        """Whether an array is as close to another as rounding allows."""
        return made.shape == target.shape and relative_rms(made, target) <= self.allowed

    @cached_property
    def sample(self) -> np.ndarray:
        """Places of a flat array to look at first."""
        size = self.exact.size
        return np.arange(size) if size <= SAMPLE else np.random.default_rng(0).choice(size, SAMPLE, replace=False)
