"""Uniform random numbers as an argument: a tape that can be read ahead of the tokens that use it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import mlx.core as mx

#: So many numbers are made at a time.
BLOCK = 256


class UniformTape(Iterator[float]):
    """Draws in [0, 1); each is kept once it was looked at.

    Args:
        source: the draws. They may be asked for ahead of their use.

    Attributes:
        position: how many were used. Setting it winds the tape.
    """

    def __init__(self, source: Iterable[float]) -> None:
        self.position = 0
        self._source = iter(source)
        self._numbers: list[float] = []

    def ahead(self, count: int) -> list[float]:
        """The next `count` draws, fewer where the source has ended. The position stays.

        Raises:
            ValueError: the source gave a number outside [0, 1).
        """
        end = self.position + count
        for u in islice(self._source, max(0, end - len(self._numbers))):
            if not 0 <= u < 1:
                raise ValueError(f"uniforms gave {u}, must lie in [0, 1)")
            self._numbers.append(float(u))
        return self._numbers[self.position : end]

    def take(self, count: int) -> list[float]:
        """The next `count` draws, which are used now.

        Raises:
            ValueError: there are fewer, or as `ahead`.
        """
        drawn = self.ahead(count)
        if len(drawn) < count:
            raise ValueError("uniforms ran out: give an endless iterator, such as uniforms(seed)")
        self.position += count
        return drawn

    def __next__(self) -> float:
        if not self.ahead(1):
            raise StopIteration
        return self.take(1)[0]


def uniforms(source: int | mx.array) -> UniformTape:
    """An endless tape of draws in [0, 1) from a seed or an `mx.random` key; the same source gives the same tape."""
    key = mx.random.key(source) if isinstance(source, int) else source
    mx.eval(key)  # another thread may read first
    return UniformTape(_from_key(key))


def _from_key(key: mx.array) -> Iterator[float]:
    while True:
        key, block = mx.random.split(key)
        mx.eval(key)  # another thread may read on
        yield from mx.random.uniform(shape=(BLOCK,), key=block).tolist()  # type: ignore[misc]
