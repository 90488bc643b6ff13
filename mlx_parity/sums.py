"""Sums over two arrays in float64, block by block: comparing gigabytes is, for the most part, waiting for memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

#: Numbers of a block. What is made of it stays in a core's cache, and no BLAS splits it among threads.
BLOCK = 1 << 13


def blocks(one: np.ndarray, other: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Two arrays of one shape in float64, flat, part by part."""
    flat, twin = one.reshape(-1), other.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        part = slice(start, start + BLOCK)
        yield flat[part].astype(np.float64, copy=False), twin[part].astype(np.float64, copy=False)


@dataclass
class Moments:
    """Of numbers that come in blocks, taken about `origin`, one of them: so what does not vary has no variance."""

    origin: float
    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    nonfinite: int = 0

    def add(self, x: np.ndarray) -> None:
        moved = x - self.origin
        total, squares = float(moved.sum()), float(moved @ moved)
        self.count, self.total, self.squares = self.count + x.size, self.total + total, self.squares + squares
        if not math.isfinite(squares):
            self.nonfinite += int(x.size - np.count_nonzero(np.isfinite(x)))

    @property
    def mean(self) -> float:
        return self.origin + self.total / self.count if math.isfinite(self.origin) else self.origin

    @property
    def std(self) -> float:
        variance = self.squares / self.count - (self.total / self.count) ** 2
        return math.sqrt(max(variance, 0.0)) if math.isfinite(variance) else math.nan


@dataclass
class Products:
    """Of the numbers a and b of two arrays: the sums of a * b, a * a, b * b and (a - b)^2, and the largest |a - b|."""

    both: float = 0.0
    first: float = 0.0
    second: float = 0.0
    apart: float = 0.0
    largest: float = 0.0

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        self.both += float(a @ b)
        self.first += float(a @ a)
        self.second += float(b @ b)
        a = a - b
        self.apart += float(a @ a)
        self.largest = max(self.largest, float(a.max()), -float(a.min()))
