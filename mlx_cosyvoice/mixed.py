"""Layers that stay float32 within a component of half precision."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import mlx.core as mx
import mlx.nn as nn


def is_float(value: Any) -> bool:
    """Whether it is an array of floats."""
    return isinstance(value, mx.array) and mx.issubdtype(value.dtype, mx.floating)


def _cast(value: Any, dtype: mx.Dtype) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(_cast(item, dtype) for item in value)
    return value.astype(dtype) if is_float(value) else value


def outer_dtype(*path: nn.Module) -> mx.Dtype:
    """The dtype of the activations around a layer: that of its weights, unless it is kept in float32.

    `path` ends with the layer; before it stand those modules around it that may be kept in float32 as a whole.
    """
    kept = [getattr(type(module), "around", None) for module in path]
    dtype: mx.Dtype = next(filter(None, kept), path[-1]["weight"].dtype)
    return dtype


def in_float32(cls: type, around: mx.Dtype) -> type:
    """A module's class, computing in float32 amid what computes in `around`; see `keep_float32`."""

    @functools.wraps(cls.__call__)  # type: ignore[operator]
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        dtype = next((value.dtype for value in (*args, *kwargs.values()) if is_float(value)), around)
        args, kwargs = _cast(args, mx.float32), {name: _cast(value, mx.float32) for name, value in kwargs.items()}
        return _cast(cls.__call__(self, *args, **kwargs), dtype)  # type: ignore[operator]

    return type(cls.__name__, (cls,), {"__call__": call, "around": around})


def outermost(paths: Iterable[str], kept: Iterable[str]) -> list[str]:
    """Those of the module `paths` that are one of `kept` or below it, and not below another one of these."""
    kept = set(kept)
    chosen: list[str] = []
    for path in sorted(paths):
        names = path.split(".")
        inside = any(".".join(names[:end]) in kept for end in range(1, len(names) + 1))
        if inside and not any(path.startswith(f"{outer}.") for outer in chosen):
            chosen.append(path)
    return chosen


def keep_float32(model: nn.Module, kept: Iterable[str], around: mx.Dtype) -> None:
    """Make the modules at (or below) the paths `kept` compute in float32 and hand on what the rest computes in.

    Without that, everything after the first float32 layer would be promoted to float32, at the cost of a copy of every
    weight at every call. A kept layer casts its float arguments to float32, and its output to the dtype of the first of
    these, or to `around` if it had none (an embedding).
    """
    modules = dict(model.named_modules())
    for path in outermost((path for path in modules if path), kept):
        modules[path].__class__ = in_float32(type(modules[path]), around)
