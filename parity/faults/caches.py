"""Faults of modules that use another cache than their caller's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from mlx_cosyvoice.nn.cache import Cache
from parity.faults.base import Place, Planted

#: Blocks of keys and values, the oldest first.
Keys = Sequence[tuple[mx.array, mx.array]]

#: Frames of a chunk.
CHUNK = 50


class _Borrowed:
    """A cache with a method of its own; all others are another one's."""

    def __init__(self, original: Cache, **own: Any) -> None:
        self.__dict__.update(own)
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def _with_cache(place: Place, change: Callable[[Cache], Any]) -> Planted:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self(*(change(value) if isinstance(value, Cache) else value for value in args), **kwargs)

    return place.behaves(call)


def fetching(place: Place, change: Callable[[Keys], Any]) -> Planted:
    """An attention sees other keys and values than the cache holds."""

    def cache(own: Cache) -> Any:
        return _Borrowed(own, update_and_fetch=lambda *new: change(own.update_and_fetch(*new)))

    return _with_cache(place, cache)


def extending(place: Place, change: Callable[[mx.array], mx.array]) -> Planted:
    """A convolution sees other frames before its own; `change` gets the past ones."""

    def extend(own: Cache, x: mx.array, reach: int) -> mx.array:
        past, new = mx.split(own.extend(x, reach), [reach], axis=1)
        return mx.concatenate([change(past), new], axis=1)

    return _with_cache(place, lambda own: _Borrowed(own, extend=lambda x, reach: extend(own, x, reach)))


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
