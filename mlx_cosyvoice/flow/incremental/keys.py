"""Attention keys and values of the past, in blocks that the states of an utterance share."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

#: Pieces that are joined into one block, so that attention has few large products to make instead of many small ones.
JOINED = 8


@dataclass(frozen=True, eq=False)
class KeysValues:
    """Keys and values in order of time.

    Attributes:
        blocks: [2 (keys, values), N, places, D] each, N counting batch entries and heads.
        skipped: places at the start of the first block that are out of sight.
    """

    blocks: tuple[mx.array, ...] = ()
    skipped: int = 0

    def appended(self, new: mx.array, *, keep: int | None) -> KeysValues:
        """With the piece `new` [2, N, T, D] at the end of, at most, the last `keep` places (None: of all)."""
        blocks, skipped = list(self.blocks), self.skipped
        if keep is not None:
            skipped = max(skipped, sum(block.shape[2] for block in blocks) - keep)
            while blocks and skipped >= blocks[0].shape[2]:
                skipped -= blocks.pop(0).shape[2]
        blocks.append(new)
        pieces = blocks[-JOINED:]
        if len(pieces) == JOINED and all(piece.shape == new.shape for piece in pieces):
            blocks[-JOINED:] = [mx.concatenate(pieces, axis=2)]
        return KeysValues(tuple(blocks), skipped)

    def read(self) -> list[tuple[mx.array, mx.array]]:
        """(keys, values) of every block, [N, places, D] each, without the places that are out of sight."""
        pairs = [(block[0], block[1]) for block in self.blocks]
        if self.skipped:
            keys, values = pairs[0]
            pairs[0] = (keys[:, self.skipped :], values[:, self.skipped :])
        return pairs

    @property
    def places(self) -> int:
        """How many keys are in sight."""
        return sum(block.shape[2] for block in self.blocks) - self.skipped
