"""What was recorded of a run: calls, and what modules returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from parity.capture import first_float
from parity.localization.beside import Beside, beside, whole
from parity.localization.isolate import Call, Feed

#: (Module path, number of its call) -> the call.
CallsByKey = dict[tuple[str, int], Call]


def key_of(path: str, call: int) -> str:
    """How a call of a module goes by in recordings and reports."""
    return path if call == 0 else f"{path}#{call}"


class Recording(dict[str, np.ndarray]):
    """What modules returned, under path or path#call, in the order in which they did."""

    def sink(self, path: str, call: int, output: np.ndarray) -> None:
        self[key_of(path, call)] = output


class CallsBeside(Mapping[tuple[str, int], Call]):
    """Calls whose arrays are made whole when one is asked for."""

    def __init__(self, calls: CallsByKey) -> None:
        self._calls = calls

    def __getitem__(self, key: tuple[str, int]) -> Call:
        call = self._calls[key]
        arguments = {name: whole(value) for name, value in call.arguments.items()}
        return replace(call, arguments=arguments, output=whole(call.output))

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._calls)

    def __len__(self) -> int:
        return len(self._calls)


class RecordingBeside(Mapping[str, np.ndarray]):
    """What modules returned in float64, under path or path#call; `calls` are those in the working dtype."""

    def __init__(self, calls: Feed) -> None:
        self._calls, self._held = calls, dict[str, np.ndarray | Beside]()

    def sink(self, path: str, call: int, output: np.ndarray) -> None:
        known = self._calls.get((path, call))
        self._held[key_of(path, call)] = beside(output, first_float(known.output) if known else None)

    def __getitem__(self, key: str) -> np.ndarray:
        return whole(self._held[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)
