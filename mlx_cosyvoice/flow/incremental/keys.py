"""Attention keys and values of the past, in rooms that the states of an utterance share."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx


class Room:
    """Memory for keys and values that is filled from the start, piece by piece; what stands there never changes.

    Attributes:
        array: [2 (keys, values), N, capacity, D].
        filled: how many places are taken.
    """

    def __init__(self, heads: int, capacity: int, size: int, dtype: mx.Dtype) -> None:
        self.array = mx.zeros((2, heads, capacity, size), dtype)
        self.filled = 0

    def append(self, keys: mx.array, values: mx.array) -> None:
        """Take the next places; MLX does so in place, as nobody else holds the array."""
        end = self.filled + keys.shape[1]
        self.array[0, :, self.filled : end] = keys
        self.array[1, :, self.filled : end] = values
        self.filled = end


@dataclass(frozen=True)
class Block:
    """The first `places` of a room."""

    room: Room
    places: int

    def can_take(self, count: int) -> bool:
        """Whether so many places are free behind these; not if another state has gone on from here already."""
        return self.room.filled == self.places and self.places + count <= self.room.array.shape[2]


@dataclass(frozen=True, eq=False)
class KeysValues:
    """Keys and values in order of time.

    Attributes:
        blocks: that they stand in; N of their rooms counts batch entries and heads.
        skipped: places at the start of the first block that are out of sight.
    """

    blocks: tuple[Block, ...] = ()
    skipped: int = 0

    def appended(self, keys: mx.array, values: mx.array, *, keep: int | None, room: int) -> KeysValues:
        """With keys and values [N, T, D] at the end of, at most, the last `keep` places (None: of all).

        Where they find no place, a room for `room` places is made, in their dtype.
        """
        blocks, skipped = list(self.blocks), self.skipped
        if keep is not None:
            skipped = max(skipped, sum(block.places for block in blocks) - keep)
            while blocks and skipped >= blocks[0].places:
                skipped -= blocks.pop(0).places
        heads, count, size = keys.shape
        if blocks and blocks[-1].can_take(count):
            last = blocks.pop()
        else:
            last = Block(Room(heads, max(room, count), size, keys.dtype), 0)
        last.room.append(keys, values)
        return KeysValues((*blocks, Block(last.room, last.places + count)), skipped)

    def read(self) -> list[tuple[mx.array, mx.array]]:
        """(keys, values) of every block, [N, places, D] each, without the places that are out of sight."""
        pairs = [
            (block.room.array[0, :, : block.places], block.room.array[1, :, : block.places]) for block in self.blocks
        ]
        if self.skipped:
            keys, values = pairs[0]
            pairs[0] = (keys[:, self.skipped :], values[:, self.skipped :])
        return pairs

    @property
    def places(self) -> int:
        """How many keys are in sight."""
        return sum(block.places for block in self.blocks) - self.skipped
