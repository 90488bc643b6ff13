"""The modules of a reference that are known from a capture alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Network(Protocol):
    """Modules by path, and what is to be known of one: a `Side`, or what was recorded of one."""

    def modules(self) -> dict[str, Any]: ...

    def kind(self, module: Any) -> str: ...

    def parameters(self, module: Any) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Recorded:
    """A module: what its type is called, and which floats it stores, by name."""

    kind: str
    parameters: dict[str, np.ndarray]


@dataclass(frozen=True)
class RecordedNetwork:
    """All modules of a network by path."""

    recorded: Mapping[str, Recorded]

    def modules(self) -> dict[str, Recorded]:
        return dict(self.recorded)

    def kind(self, module: Recorded) -> str:
        return module.kind

    def parameters(self, module: Recorded) -> dict[str, np.ndarray]:
        return module.parameters


def recorded(network: Network) -> dict[str, Recorded]:
    """What is to be known of every module."""
    return {
        path: Recorded(network.kind(module), network.parameters(module)) for path, module in network.modules().items()
    }
