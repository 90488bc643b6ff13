"""Isolation: every module is fed what the reference's module was fed, so that its output shows its own error only.

One pass over a model does it. At every call of a module the incoming arguments are noted and replaced by the
reference's, and its output is noted and replaced by the reference's. Nothing accumulates: an argument that comes in
wrong was made wrong by the code between modules (the caller's glue), an output that is wrong was made so by the module
itself (a leaf) or by what it does after its last child (its glue). The float64 reference is run the same way; the
distance between it and the captured values is the noise floor of every place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import mlx.nn as mlx_nn
import numpy as np
import torch

from mlx_cosyvoice.nn.official import input_to_official_axes, input_to_our_axes, to_official_axes, to_our_axes
from parity.capture import Keep, as_numpy

#: The name of a module's first argument, whatever the two sides call it.
INPUT = "input"

#: Arguments by name, or an output: arrays in the official layout (float64 or float32, integers, booleans), numbers,
#: flags, None, and tuples of these. What is none of them (a cache object) is left out.
Value = Any


@dataclass
class Call:
    """One call of a module, as it was observed. It is `isolated` if all calls inside it were fed."""

    path: str
    index: int
    caller: str
    arguments: dict[str, Value]
    output: Value = None
    children: int = 0
    isolated: bool = True


#: The reference's calls by (path, call index): what a run is fed.
Feed = Mapping[tuple[str, int], Call]


@dataclass
class Calls:
    """All calls of a run. `entered` and `returned` are in time order; `failed` is the call that raised, if one did.

    The run is `isolated` if all outermost calls were fed.
    """

    entered: list[Call] = field(default_factory=list)
    returned: list[Call] = field(default_factory=list)
    failed: Call | None = None
    isolated: bool = True

    def by_key(self) -> dict[tuple[str, int], Call]:
        return {(call.path, call.index): call for call in self.entered}


class _Opaque:
    """Stands for a value that cannot be compared across frameworks."""


OPAQUE = _Opaque()


def _bind(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name, defaults included; the first one under `INPUT`."""
    bound = inspect.signature(function).bind(None, *args, **kwargs)
    bound.apply_defaults()
    items = list(bound.arguments.items())[1:]
    return {INPUT if place == 0 else name: value for place, (name, value) in enumerate(items)}


def _unbind(function: Callable[..., Any], arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The reverse of `_bind`: positional and keyword arguments for a call."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    args, kwargs = [], {}
    for place, parameter in enumerate(parameters):
        value = arguments[INPUT if place == 0 else parameter.name]
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            kwargs[parameter.name] = value
        else:
            args.append(value)
    return tuple(args), kwargs


def _map(value: Value, array: Callable[[Any], Any]) -> Value:
    """Apply `array` to every tensor in a value; what cannot cross frameworks becomes `OPAQUE`."""
    if isinstance(value, (torch.Tensor, mx.array, np.ndarray)):
        return array(value)
    if isinstance(value, (tuple, list)):
        return tuple(_map(item, array) for item in value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return OPAQUE


def _replace(own: Value, given: Value, array: Callable[[Any, Any], Any]) -> Value:
    """`own` with the reference's values in place of its tensors, flags and numbers, where there are any."""
    if isinstance(given, tuple) and given and isinstance(own, (torch.Tensor, mx.array)):
        given = given[0]  # the reference's layer returns its cache as well, where ours keeps it elsewhere
    if isinstance(own, (tuple, list)) and isinstance(given, tuple) and len(own) == len(given):
        return tuple(_replace(a, b, array) for a, b in zip(own, given, strict=True))
    if isinstance(given, np.ndarray) and (own is None or isinstance(own, (torch.Tensor, mx.array))):
        return array(own, given)
    if isinstance(own, (bool, int, float)) and isinstance(given, (bool, int, float)):
        return given
    if given is None and isinstance(own, (torch.Tensor, mx.array)):
        return None
    return own


def _same_but_for_ones(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two shapes differ in axes of length 1 alone (a table that is broadcast over heads, say)."""
    return [n for n in a if n != 1] == [n for n in b if n != 1]


def _torch_value(value: Value) -> Value:
    def convert(tensor: torch.Tensor) -> np.ndarray:
        return (as_numpy(tensor) if tensor.is_floating_point() else tensor.detach().numpy()).copy()

    return _map(value, convert)


def _torch_given(own: torch.Tensor | None, given: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(given))
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


class _Recorder:
    """Keeps track of which module is running inside which."""

    def __init__(self, calls: Calls, keep: Keep, root: str) -> None:
        self.calls, self.keep, self.root = calls, keep, root
        self.stack: list[Call] = []
        self._counts: dict[str, int] = {}

    def enter(self, path: str, arguments: dict[str, Value], feed: Feed) -> Call:
        index = self._counts.get(path, 0)
        self._counts[path] = index + 1
        caller = self.stack[-1].path if self.stack else self.root
        call = Call(path, index, caller, arguments)
        outer = self.stack[-1] if self.stack else self.calls
        outer.isolated &= (path, index) in feed
        if isinstance(outer, Call):
            outer.children += 1
        self.stack.append(call)
        if self.keep(path, index):
            self.calls.entered.append(call)
        return call

    def leave(self, output: Value) -> None:
        call = self.stack.pop()
        if self.keep(call.path, call.index):
            call.output = output
            self.calls.returned.append(call)

    def fail(self) -> None:
        """The running call raises. The innermost one is remembered."""
        call = self.stack.pop()
        self.calls.failed = self.calls.failed or call


@contextmanager
def observe_torch(
    model: torch.nn.Module,
    component: str,
    keep: Keep,
    feed: Feed | None = None,
    dtype: torch.dtype = torch.float64,
) -> Iterator[Calls]:
    """Note every call in a PyTorch model; with `feed`, also replace what goes in and out by what `feed` holds.

    Args:
        model: the component's module.
        component: its name, the prefix of all paths and the caller of its outermost modules.
        keep: which calls are noted.
        feed: (path, call index) -> the reference's call in the working dtype.
        dtype: of replaced floats.
    """
    calls = Calls()
    recorder = _Recorder(calls, keep, component)

    def given(own: Any, value: np.ndarray) -> Any:
        return _torch_given(own, value, dtype)

    def before(path: str) -> Callable[..., Any]:
        def hook(module: torch.nn.Module, args: Any, kwargs: Any) -> Any:
            function = type(module).forward
            arguments = _bind(function, args, kwargs)
            noted = {name: _torch_value(value) for name, value in arguments.items()}
            call = recorder.enter(path, noted, feed or {})
            source = feed.get((path, call.index)) if feed is not None else None
            if source is None:
                return None
            replaced = {name: _replace(own, source.arguments.get(name, own), given) for name, own in arguments.items()}
            return _unbind(function, replaced)

        return hook

    def after(path: str) -> Callable[..., Any]:
        def hook(module: torch.nn.Module, args: Any, output: Any) -> Any:
            index = recorder.stack[-1].index
            recorder.leave(_torch_value(output))
            source = feed.get((path, index)) if feed is not None else None
            return None if source is None else _replace(output, source.output, given)

        return hook

    handles = []
    for name, module in model.named_modules():
        if name and "parametrizations" not in name and not isinstance(module, torch.nn.ModuleList):
            path = f"{component}.{name}"
            handles.append(module.register_forward_pre_hook(before(path), with_kwargs=True))
            handles.append(module.register_forward_hook(after(path)))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def observe_mlx(model: mlx_nn.Module, component: str, keep: Keep, feed: Feed) -> Iterator[Calls]:
    """The same for an MLX model, always fed. Arrays are noted in the official layout."""
    calls = Calls()
    recorder = _Recorder(calls, keep, component)
    originals: list[tuple[mlx_nn.Module, type]] = []

    def official(module: mlx_nn.Module, permute: Callable[[Any, Any], mx.array]) -> Callable[[mx.array], np.ndarray]:
        def convert(array: mx.array) -> np.ndarray:
            array = permute(module, array)
            return as_numpy(array) if mx.issubdtype(array.dtype, mx.floating) else np.array(array)

        return convert

    def ours(module: mlx_nn.Module, permute: Callable[[Any, Any], np.ndarray]) -> Callable[[Any, Any], mx.array]:
        def convert(own: mx.array | None, given: np.ndarray) -> mx.array:
            array = mx.array(permute(module, given))
            if own is not None and array.shape != own.shape and _same_but_for_ones(array.shape, own.shape):
                array = array.reshape(own.shape)
            floating = mx.issubdtype(array.dtype, mx.floating)
            return array.astype(own.dtype) if own is not None and floating else array

        return convert

    def tapped(cls: type, path: str) -> type:
        function = cls.__call__  # type: ignore[operator]

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            arguments = _bind(function, args, kwargs)
            note_input = official(self, input_to_official_axes)
            noted = recorder.enter(path, {n: _map(value, note_input) for n, value in arguments.items()}, feed)
            source = feed.get((path, noted.index))
            if source is not None:
                put = ours(self, input_to_our_axes)
                arguments = {n: _replace(own, source.arguments.get(n, own), put) for n, own in arguments.items()}
                args, kwargs = _unbind(function, arguments)
            try:
                output = function(self, *args, **kwargs)
                noted_output = _map(output, official(self, to_official_axes))
            except Exception:
                recorder.fail()
                raise
            recorder.leave(noted_output)
            return output if source is None else _replace(output, source.output, ours(self, to_our_axes))

        return type(cls.__name__, (cls,), {"__call__": call})

    for name, module in model.named_modules():
        if name:
            originals.append((module, type(module)))
            module.__class__ = tapped(type(module), f"{component}.{name}")
    try:
        yield calls
    finally:
        for module, cls in originals:
            module.__class__ = cls
