"""Attention keys and values of the past, in memory that the states of one utterance share."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

#: Pieces by which a full buffer grows. Growing copies it, so it should not happen at every piece.
GROWTH = 4


class Buffer:
    """Memory [2 (keys, values), B, heads, capacity, D] that is filled from the front, each place once.

    `filled` places are taken. A sealed buffer takes no more.
    """

    def __init__(self, shape: tuple[int, ...], capacity: int, dtype: mx.Dtype) -> None:
        self.array = mx.zeros((*shape[:3], capacity, *shape[4:]), dtype)
        self.filled, self.sealed = 0, False

    @property
    def capacity(self) -> int:
        return self.array.shape[3]

    def write(self, new: mx.array) -> None:
        """Fill the next places. MLX writes into the memory itself, as nothing but this object refers to the array."""
        start, self.filled = self.filled, self.filled + new.shape[3]
        array = self.array
        del self.array
        array[:, :, :, start : self.filled] = new
        self.array = array

    def grow(self, places: int) -> None:
        """Move to larger memory; who refers to places of this buffer notices nothing."""
        shape = list(self.array.shape)
        shape[3] = places
        self.array = mx.concatenate([self.array, mx.zeros(shape, self.array.dtype)], axis=3)


@dataclass(frozen=True, eq=False)
class KeysValues:
    """The places `start` to `stop` of a buffer.

    They never change. Where another state has filled the places from `stop` on already, this one continues in a copy.
    """

    buffer: Buffer
    start: int = 0
    stop: int = 0

    def appended(self, new: mx.array, *, keep: int | None) -> KeysValues:
        """With `new` [2, B, heads, T, D] at the end of, at most, the last `keep` places (None: of all)."""
        start = self.start if keep is None else max(self.start, self.stop - keep)
        buffer, room = self.buffer, GROWTH * new.shape[3]
        is_full = self.stop + new.shape[3] > buffer.capacity
        if buffer.sealed or buffer.filled != self.stop or (is_full and start > 0):
            kept = buffer.array[:, :, :, start : self.stop]
            buffer = Buffer(new.shape, kept.shape[3] + room, kept.dtype)
            buffer.write(kept)
            start = 0
        elif is_full:
            buffer.grow(room)
        buffer.write(new.astype(buffer.array.dtype))
        return KeysValues(buffer, start, buffer.filled)

    def read(self, dtype: mx.Dtype) -> tuple[mx.array, mx.array]:
        """Keys and values, [B, heads, stop - start, D] each."""
        both = self.buffer.array[:, :, :, self.start : self.stop].astype(dtype)
        return both[0], both[1]
