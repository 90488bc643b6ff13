"""The port's side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.nn.cache import Cache, CacheState
from mlx_cosyvoice.nn.official import input_to_official_axes, input_to_our_axes, to_official_axes, to_our_axes
from mlx_parity.sides.mlx import MLXSide as AnyMLXSide


class MLXSide(AnyMLXSide):
    """A module of `mlx_cosyvoice`, where time is axis 1: its layouts are declared by the types of modules."""

    def exempt(self) -> dict[str, str]:
        """Official modules that the network leaves out: those whose weights it declares unused."""
        found = {}
        for path, module in getattr(self.module, "named_modules", tuple)():
            for name, why in getattr(module, "unused", dict)().items():
                owner, _, parameter = name.rpartition(".")
                if owner and parameter:
                    found[".".join(filter(None, (path, owner)))] = why
        return found

    def to_reference(self, module: nn.Module, array: mx.array, *, incoming: bool) -> mx.array:
        return (input_to_official_axes if incoming else to_official_axes)(module, array)

    def from_reference(self, module: nn.Module, value: np.ndarray, *, incoming: bool) -> np.ndarray:
        return (input_to_our_axes if incoming else to_our_axes)(module, value)

    def states(self, arguments: Mapping[str, Any]) -> list[Any]:
        return [value for value in arguments.values() if isinstance(value, Cache)]

    def taken_up(self, state: Cache) -> tuple[Any, ...]:
        return _kept(state.past)

    def left(self, state: Cache) -> tuple[Any, ...]:
        return _kept(state.state)


def _kept(state: CacheState | None) -> tuple[Any, ...]:
    return () if state is None else (*state.tensors, *state.keys)
