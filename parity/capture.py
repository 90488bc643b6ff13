"""Taps: record what every named module of a live model returns, on either side, under its official path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as mlx_nn
import numpy as np
import torch

from mlx_cosyvoice.nn.official import to_official_axes

#: Called with (module path, how often that module was called before, output in the official layout). The array may
#: share memory with the model: copy what is kept.
Sink = Callable[[str, int, np.ndarray], None]

#: Whether the output of a module's n-th call (from 0) is wanted.
Keep = Callable[[str, int], bool]


def keep_all(path: str, call: int) -> bool:
    return True


def first_tensor(output: Any) -> Any:
    """A module's output, or the first of several, if it is a tensor of floats; else None."""
    if isinstance(output, (tuple, list)):
        output = output[0] if output else None
    if isinstance(output, torch.Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, mx.array):
        return output if mx.issubdtype(output.dtype, mx.floating) else None
    return None


def as_numpy(tensor: Any) -> np.ndarray:
    """A torch or MLX tensor as a NumPy array of float32 (float64 stays)."""
    if isinstance(tensor, torch.Tensor):
        tensor = tensor.detach()
        return tensor.numpy() if tensor.dtype == torch.float64 else tensor.float().numpy()
    return np.array(tensor.astype(mx.float32))


@contextmanager
def tap_torch(model: torch.nn.Module, sink: Sink, prefix: str = "", keep: Keep = keep_all) -> Iterator[None]:
    """Report the output of every named module of a PyTorch model to `sink` while the context lasts."""
    calls: dict[str, int] = {}

    def hook(path: str) -> Callable[..., None]:
        def record(module: torch.nn.Module, args: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is not None:
                index = calls.get(path, 0)
                calls[path] = index + 1
                if keep(path, index):
                    sink(path, index, as_numpy(tensor))

        return record

    # `parametrizations` hold weights (weight norm); what they return is no activation
    handles = [
        module.register_forward_hook(hook(f"{prefix}{path}"))
        for path, module in model.named_modules()
        if path and "parametrizations" not in path
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def tap_mlx(model: mlx_nn.Module, sink: Sink, prefix: str = "", keep: Keep = keep_all) -> Iterator[None]:
    """The same for an MLX model: each instance is given a subclass of its own class whose `__call__` records."""
    calls: dict[str, int] = {}
    originals: list[tuple[mlx_nn.Module, type]] = []

    def tapped(cls: type, path: str) -> type:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            output = cls.__call__(self, *args, **kwargs)  # type: ignore[operator]
            tensor = first_tensor(output)
            if tensor is not None:
                index = calls.get(path, 0)
                calls[path] = index + 1
                if keep(path, index):
                    sink(path, index, as_numpy(to_official_axes(self, tensor)))
            return output

        return type(cls.__name__, (cls,), {"__call__": call})

    for path, module in model.named_modules():
        if path:
            originals.append((module, type(module)))
            module.__class__ = tapped(type(module), f"{prefix}{path}")
    try:
        yield
    finally:
        for module, cls in originals:
            module.__class__ = cls
