"""Faults of modules that use another cache than their caller's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from mlx_cosyvoice.nn.cache import Cache
from parity.faults.base import Borrowed, Place

#: Blocks of keys and values, the oldest first.
Keys = Sequence[tuple[mx.array, mx.array]]


def with_cache(place: Place, name: str, mistake: str, change: Callable[[Cache], Any]) -> None:
    """A fault in which a module uses another cache than its caller's."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self(*(change(value) if isinstance(value, Cache) else value for value in args), **kwargs)

    place.behaves(name, mistake, call)


def fetching(place: Place, name: str, mistake: str, change: Callable[[Keys], Any]) -> None:
    """A fault in which an attention sees other keys and values than the cache holds."""

    def cache(own: Cache) -> Any:
        return Borrowed(own, update_and_fetch=lambda *new: change(own.update_and_fetch(*new)))

    with_cache(place, name, mistake, cache)


def extending(place: Place, name: str, mistake: str, change: Callable[[mx.array], mx.array]) -> None:
    """A fault in which a convolution sees other frames before its own; `change` gets the past ones."""

    def extend(own: Cache, x: mx.array, reach: int) -> mx.array:
        past, new = mx.split(own.extend(x, reach), [reach], axis=1)
        return mx.concatenate([change(past), new], axis=1)

    with_cache(place, name, mistake, lambda own: Borrowed(own, extend=lambda x, reach: extend(own, x, reach)))


def joined(keys: Keys) -> tuple[mx.array, mx.array]:
    """Keys and values [B, heads, places, D] in one block."""
    k, v = (mx.concatenate([pair[which] for pair in keys], axis=2) for which in (0, 1))
    return k, v


def last(keys: Keys, count: int) -> Keys:
    """Those of the last places."""
    k, v = joined(keys)
    return [(k[..., -count:, :], v[..., -count:, :])]
