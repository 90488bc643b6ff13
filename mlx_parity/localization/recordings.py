"""What was recorded of a run: calls, and what modules returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from mlx_parity.localization.beside import Beside, beside, whole
from mlx_parity.localization.isolate import Call, CallsByKey, Feed
from mlx_parity.taps import first_float


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
        self.held = calls

    def __getitem__(self, key: tuple[str, int]) -> Call:
        call = self.held[key]
        arguments = {name: whole(value) for name, value in call.arguments.items()}
        return replace(call, arguments=arguments, output=whole(call.output))

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)


class RecordingBeside(Mapping[str, np.ndarray]):
    """What modules returned in float64, under path or path#call; `calls` are those in the working dtype."""

    def __init__(self, calls: Feed, held: dict[str, np.ndarray | Beside] | None = None) -> None:
        self._calls, self.held = calls, {} if held is None else held

    def sink(self, path: str, call: int, output: np.ndarray) -> None:
        known = self._calls.get((path, call))
        self.held[key_of(path, call)] = beside(output, first_float(known.output) if known else None)

    def __getitem__(self, key: str) -> np.ndarray:
        return whole(self.held[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)
