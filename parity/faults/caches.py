"""Faults of modules that see something else than what their cache holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from mlx_cosyvoice.nn import functional
from mlx_cosyvoice.nn.cache import Cache, attended, extended
from parity.faults.base import Place, Planted

#: Blocks of keys and values, the oldest first.
Keys = Sequence[tuple[mx.array, mx.array]]

#: Frames of a chunk.
CHUNK = 50


def fetching(place: Place, change: Callable[[Keys], Any]) -> Planted:
    """An attention sees other keys and values than the cache holds."""
    return place.edits("attended(", "seen(", seen=lambda *new: change(attended(*new)))


def extending(place: Place, change: Callable[[mx.array], mx.array]) -> Planted:
    """A convolution sees other frames before its own; `change` gets the past ones."""
    return place.edits("extended(", "seen(", seen=lambda x, reach, cache: _extended(x, reach, cache, change))


def extending_within(place: Place, change: Callable[[mx.array], mx.array]) -> Planted:
    """The same of a module that is a convolution behind something else."""

    def convolved(self: Any, x: mx.array, cache: Cache | None) -> mx.array:
        return functional.conv1d(_extended(x, self.pad[0], cache, change), self.weight) + self.bias

    return place.edits("super().__call__(", "convolved(self, ", convolved=convolved)


def _extended(x: mx.array, reach: int, cache: Cache | None, change: Callable[[mx.array], mx.array]) -> mx.array:
    past, new = mx.split(extended(x, reach, cache), [reach], axis=1)
    return mx.concatenate([past if cache is None else change(past), new], axis=1)


def one_late(past: mx.array) -> mx.array:
    """Frames that are one too old."""
    return mx.concatenate([mx.zeros_like(past[:, :1]), past[:, :-1]], axis=1)


def of_one_entry(array: mx.array) -> mx.array:
    """The first entry of a batch for all of them."""
    return mx.broadcast_to(array[:1], array.shape)


def each(change: Callable[[mx.array], mx.array]) -> Callable[[Keys], Any]:
    """The same done to keys and to values."""
    return lambda keys: [tuple(change(part) for part in pair) for pair in keys]


def joined(keys: Keys) -> tuple[mx.array, mx.array]:
    """Keys and values [B, heads, places, D] in one block."""
    k, v = (mx.concatenate([pair[which] for pair in keys], axis=2) for which in (0, 1))
    return k, v


def last(keys: Keys, count: int) -> Keys:
    """Those of the last places."""
    k, v = joined(keys)
    return [(k[..., -count:, :], v[..., -count:, :])]
