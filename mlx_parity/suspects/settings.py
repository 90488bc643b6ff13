"""The numbers that a module and its parts are set to, whatever they are called: what a wrong one may have been."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

#: How far to look: a module, its parts and its configuration, and what is in those.
DEPTH = 2


def numbers_of(module: Any) -> tuple[float, ...]:
    """All finite numbers but 0 and 1 among a module's attributes, its parts' and those of its configuration."""
    found = (float(number) for number in _numbers(module, DEPTH))
    return tuple(dict.fromkeys(number for number in found if number not in (0.0, 1.0) and abs(number) < 1e9))


def _numbers(value: Any, depth: int) -> Iterator[float]:
    if isinstance(value, (int, float)):
        if not isinstance(value, bool):
            yield value
    elif depth >= 0:
        for inner in _inside(value):
            yield from _numbers(inner, depth - 1)


def _inside(value: Any) -> Iterable[Any]:
    attributes = getattr(value, "__dict__", {})
    items = dict(value) if isinstance(value, Mapping) else {}  # a module of MLX is a mapping of what it holds
    return [*attributes.values(), *items.values()]
