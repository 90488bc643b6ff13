"""Attention keys and values of the past, in buffers that the states of an utterance share."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx


class Buffer:
    """Memory for keys and values that is filled from the start, piece by piece; what stands there never changes.

    Attributes:
        array: [2 (keys, values), B, heads, capacity, D].
        filled: how many places are used.
    """

    def __init__(self, keys: mx.array, capacity: int) -> None:
        batch, heads, _, size = keys.shape
        self.array = mx.zeros((2, batch, heads, capacity, size), keys.dtype)
        self.filled = 0

    def append(self, keys: mx.array, values: mx.array) -> None:
        """Fill the next places; MLX does so in place, as nobody else holds the array."""
        end = self.filled + keys.shape[2]
        self.array[0, ..., self.filled : end, :] = keys
        self.array[1, ..., self.filled : end, :] = values
        self.filled = end


@dataclass(frozen=True)
class Block:
    """The first `length` places of a buffer."""

    buffer: Buffer
    length: int

    def has_room(self, count: int) -> bool:
        """Whether so many places are free behind these; not if another state has gone on from here already."""
        return self.buffer.filled == self.length and self.length + count <= self.buffer.array.shape[3]


@dataclass(frozen=True, eq=False)
class KVState:
    """Keys and values in order of time. It never changes, so it can be continued more than once.

    Attributes:
        blocks: that they stand in.
        skipped: places at the start of the first block that are out of sight.
    """

    blocks: tuple[Block, ...] = ()
    skipped: int = 0

    def updated(self, keys: mx.array, values: mx.array, *, keep: int | None, capacity: int) -> KVState:
        """With keys and values [B, heads, T, D] at the end of, at most, the last `keep` places (None: of all).

        Where no buffer has room for them, one for `capacity` places is made, in their dtype.
        """
        blocks, skipped = list(self.blocks), self.skipped
        if keep is not None:
            skipped = max(skipped, sum(block.length for block in blocks) - keep)
            while blocks and skipped >= blocks[0].length:
                skipped -= blocks.pop(0).length
        count = keys.shape[2]
        fits = bool(blocks) and blocks[-1].has_room(count)
        last = blocks.pop() if fits else Block(Buffer(keys, max(capacity, count)), 0)
        last.buffer.append(keys, values)
        return KVState((*blocks, Block(last.buffer, last.length + count)), skipped)

    def fetch(self) -> list[tuple[mx.array, mx.array]]:
        """(keys, values) of every block, [B, heads, places, D] each, without the places that are out of sight."""
        pairs = [
            (block.buffer.array[0, ..., : block.length, :], block.buffer.array[1, ..., : block.length, :])
            for block in self.blocks
        ]
        if self.skipped:
            keys, values = pairs[0]
            pairs[0] = (keys[..., self.skipped :, :], values[..., self.skipped :, :])
        return pairs

    @property
    def length(self) -> int:
        """How many keys are in sight."""
        return sum(block.length for block in self.blocks) - self.skipped
