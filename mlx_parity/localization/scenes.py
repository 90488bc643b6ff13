"""What was captured around a culprit, for the usual suspects to be tried on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from mlx_parity.compare import dtype_of, noise_floor
from mlx_parity.localization.captured import Captured
from mlx_parity.localization.isolate import INPUT, CallsByKey
from mlx_parity.sides import Side
from mlx_parity.suspects import Scene
from mlx_parity.taps import first_float

#: What goes before a module's own arguments in the names of sources.
OWN = "its own "


def scene_of(
    captured: Captured, seen: CallsByKey, side: Side, key: tuple[str, int], argument: str, factor: float, dtype: str
) -> Scene | None:
    """The scene of a call that was made with a wrong argument, or (`argument` being "") returned a wrong value.

    None where there is no such array on all sides.
    """
    calls = seen.get(key), captured.calls.get(key), captured.exact.get(key)
    if None in calls:
        return None
    arrays: list[Any] = [one.arguments.get(argument) if argument else first_float(one.output) for one in calls if one]
    if not all(isinstance(one, np.ndarray) and np.issubdtype(one.dtype, np.floating) for one in arrays):
        return None
    actual, expected, exact = arrays
    if actual.size != exact.size or not exact.size:
        return None
    call = captured.calls[key]
    module = call.caller if argument else call.path
    live = side.modules().get(module.removeprefix(captured.stage.prefix))
    leaf = live is not None and not argument and not seen[key].children
    return Scene(
        actual=actual.reshape(exact.shape).astype(np.float64),
        exact=exact.astype(np.float64),
        allowed=factor * noise_floor(expected, exact, dtype_of(expected, dtype)),
        sources=dict(_sources(captured.calls, key, module, before=bool(argument))),
        parameters=side.parameters(live) if leaf else {},
        numbers=numbers_of(live) if live is not None else (),
    )


def _sources(calls: CallsByKey, key: tuple[str, int], module: str, *, before: bool) -> Iterator[tuple[str, np.ndarray]]:
    """What a module had at a call: what its parts had returned, latest first, and what it was called with.

    `before` says that it is one of its parts that was called, and not the module itself.
    """
    order = list(calls)
    place = order.index(key)
    if not before:  # all of its parts come after it
        inside = [at for at in range(place + 1, len(order)) if calls[order[at]].caller == module]
        ends = next((at for at in range(place + 1, len(order)) if order[at][0] == module), len(order))
        places = [at for at in inside if at < ends]
    else:
        start = next((at for at in range(place, -1, -1) if order[at][0] == module), 0)
        places = [at for at in range(start, place) if calls[order[at]].caller == module]
    found = set()
    for at in reversed(places):
        call = calls[order[at]]
        name, output = call.path.removeprefix(f"{module}."), first_float(call.output)
        if name not in found and output is not None:
            found.add(name)
            yield name, output
    own = calls[key] if not before else next((calls[one] for one in order[place::-1] if one[0] == module), None)
    for name, value in own.arguments.items() if own else ():
        if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating):
            yield f"{OWN}{'input' if name == INPUT else name}", value


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
