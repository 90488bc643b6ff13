"""The defaults of the package's functions beside those of the official code, wherever an argument bears its name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import mlx_cosyvoice
from mlx_parity.compare import Layer, Verdict
from parity.pair import Pair


def audit_defaults(pair: Pair, component: str) -> list[Layer]:
    """A layer for every such default; none for a component, as they are of the whole model."""
    official = {} if component else pair.original.family.defaults
    return [
        _default(f"{function.__module__}.{function.__qualname__}", parameter, official[parameter.name])
        for function in _functions()
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name in official and parameter.default is not parameter.empty
    ]


def _default(function: str, parameter: inspect.Parameter, official: Any) -> Layer:
    path = f"{function}({parameter.name})"
    if parameter.default == official:
        return Layer(path, "config", Verdict.PASS)
    reason = f"is {parameter.default!r} by default, officially {official!r}"
    return Layer(path, "config", Verdict.DIVERGED, reason=reason)


def _functions() -> Iterator[Any]:
    """Every function and method of the modules that the model has imported."""
    for name in sorted(name for name in sys.modules if name.startswith(f"{mlx_cosyvoice.__name__}.")):
        own = [value for value in vars(sys.modules[name]).values() if getattr(value, "__module__", "") == name]
        yield from filter(inspect.isfunction, own)
        for cls in filter(inspect.isclass, own):
            yield from filter(inspect.isfunction, vars(cls).values())
