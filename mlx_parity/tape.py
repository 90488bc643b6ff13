"""Every random draw of a run, by name, so that both sides replay the same ones."""

from __future__ import annotations

import hashlib

import numpy as np


class Tape:
    """Named random arrays. A draw is a function of (seed, name, shape): asking twice gives the same numbers."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.draws: dict[str, tuple[int, ...]] = {}

    def _generator(self, name: str, shape: tuple[int, ...]) -> np.random.Generator:
        self.draws[name] = shape
        key = int.from_bytes(hashlib.sha256(f"{self.seed}/{name}".encode()).digest()[:16], "little")
        return np.random.Generator(np.random.Philox(key=key))

    def uniform(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """float32 in [0, 1)."""
        return self._generator(name, shape).random(shape, np.float32)

    def normal(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """float32, zero mean, unit variance."""
        return self._generator(name, shape).standard_normal(shape, np.float32)
