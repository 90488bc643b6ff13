"""Taps: record what every named module of a live model returns, on either side, under its path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from mlx_parity.intercept import ModuleCall, intercepted
from mlx_parity.sides import Side

#: Called with (module path, how often that module was called before, output in the reference's layout).
Sink = Callable[[str, int, np.ndarray], None]

#: Whether the output of a module's n-th call (from 0) is wanted.
Keep = Callable[[str, int], bool]


def first_float(output: Any) -> np.ndarray | None:
    """The same of an output whose tensors were noted."""
    if isinstance(output, tuple):
        output = output[0] if output else None
    return output if isinstance(output, np.ndarray) and np.issubdtype(output.dtype, np.floating) else None


def first_tensor(side: Side, output: Any) -> Any:
    """A module's output, or the first of several, if it is one of the side's arrays of floats; else None."""
    output = first_of(output)
    return output if isinstance(output, side.array_type) and side.is_float(output) else None


def first_of(output: Any) -> Any:
    """What a module returns, or the first of several such."""
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)):
        return output[0] if output else None
    return output


@contextmanager
def tap(side: Side, sink: Sink, prefix: str = "", keep: Keep = lambda path, call: True) -> Iterator[None]:
    """Report the output of every named module of a side's network to `sink` while the context lasts."""
    calls: Counter[str] = Counter()

    def report(call: ModuleCall) -> Any:
        output = call.run()
        tensor = first_tensor(side, output)
        if tensor is not None:
            index = calls[call.path]
            calls[call.path] += 1
            if keep(call.path, index):
                sink(call.path, index, side.noted(call.module, tensor))
        return output

    with intercepted({f"{prefix}{path}": module for path, module in side.modules().items()}, report):
        yield
