"""Taps: record what every named module of a live model returns, on either side, under its official path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from parity.intercept import ModuleCall, intercepted
from parity.sides import Side

#: Called with (module path, how often that module was called before, output in the official layout).
Sink = Callable[[str, int, np.ndarray], None]

#: Whether the output of a module's n-th call (from 0) is wanted.
Keep = Callable[[str, int], bool]


def keep_all(path: str, call: int) -> bool:
    return True


def first_float(output: Any) -> np.ndarray | None:
    """The same of an output whose tensors were noted."""
    if isinstance(output, tuple):
        output = output[0] if output else None
    return output if isinstance(output, np.ndarray) and np.issubdtype(output.dtype, np.floating) else None


def first_tensor(output: Any) -> Any:
    """A module's output, or the first of several, if it is a tensor of floats; else None."""
    if isinstance(output, (tuple, list)):
        output = output[0] if output else None
    if isinstance(output, torch.Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, mx.array):
        return output if mx.issubdtype(output.dtype, mx.floating) else None
    return None


@contextmanager
def tap(side: Side, sink: Sink, prefix: str = "", keep: Keep = keep_all) -> Iterator[None]:
    """Report the output of every named module of a side's network to `sink` while the context lasts."""
    calls: Counter[str] = Counter()

    def report(call: ModuleCall) -> Any:
        output = call.run()
        tensor = first_tensor(output)
        if tensor is not None:
            index = calls[call.path]
            calls[call.path] += 1
            if keep(call.path, index):
                sink(call.path, index, side.noted(call.module, tensor))
        return output

    with intercepted({f"{prefix}{path}": module for path, module in side.modules().items()}, report):
        yield
