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
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from mlx_cosyvoice.nn.cache import Cache
from parity.capture import Keep, keep_all
from parity.intercept import ModuleCall, intercepted
from parity.localization.beside import beside
from parity.sides import Side

#: The name of a module's first argument, whatever the two sides call it.
INPUT = "input"

#: Arguments by name, or an output: arrays in the official layout (float64 or float32, integers, booleans), numbers,
#: flags, None, and tuples of these. What is none of them (a cache object) is left out.
Value = Any


@dataclass
class Call:
    """One call of a module, as it was observed.

    It is `isolated` if all calls inside it were fed. `cache` is the one of MLX that it got, unless its caller had the
    same. `answered` says that the module was not run: the reference's output stood in for its own.
    """

    path: str
    index: int
    caller: str
    arguments: dict[str, Value]
    output: Value = None
    children: int = 0
    isolated: bool = True
    cache: Cache | None = None
    answered: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """By which the other side's same call is found."""
        return self.path, self.index


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
        return {call.key: call for call in self.entered}


class _Opaque:
    """Stands for a value that cannot be compared across frameworks; there is one, also after it was pickled."""

    def __reduce__(self) -> str:
        return "OPAQUE"


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


def _replace(own: Value, right: Value, array: Callable[[Any, Any], Any]) -> Value:
    """`own` with the reference's values in place of its tensors, flags and numbers, where there are any."""
    if isinstance(right, tuple) and right and isinstance(own, (torch.Tensor, mx.array)):
        right = right[0]  # the reference's layer returns its cache as well, where ours keeps it elsewhere
    if isinstance(own, (tuple, list)) and isinstance(right, tuple) and len(own) == len(right):
        return tuple(_replace(a, b, array) for a, b in zip(own, right, strict=True))
    if isinstance(right, np.ndarray) and (own is None or isinstance(own, (torch.Tensor, mx.array))):
        return array(own, right)
    if isinstance(own, (bool, int, float)) and isinstance(right, (bool, int, float)):
        return right
    if right is None and isinstance(own, (torch.Tensor, mx.array)):
        return None
    return own


class _Memory:
    """Holds equal arrays once: what a module returns goes, mostly as it is, into the next one.

    What is of float64 is held `Beside` the other side's.
    """

    def __init__(self) -> None:
        self._last: dict[int, np.ndarray] = {}  # by the tensor's id, which another one may have had before

    def map(self, value: Value, note: Callable[[Any], np.ndarray], right: Value = None) -> Value:
        """A value as it is noted; `right` is what the other side noted in its place."""
        if isinstance(right, tuple):
            if isinstance(value, (tuple, list)) and len(value) == len(right):
                return tuple(self.map(item, note, known) for item, known in zip(value, right, strict=True))
            right = right[0] if right else None

        def once(tensor: Any) -> Any:
            noted = note(tensor)
            for other in (right, self._last.get(id(tensor))):
                if (
                    isinstance(other, np.ndarray)
                    and noted.dtype.kind == other.dtype.kind
                    and np.array_equal(noted, other)
                ):
                    return other
            held = beside(noted, right)
            if held is noted:
                self._last[id(tensor)] = noted
            return held

        return _map(value, once)


class _Recorder:
    """Keeps track of which module is running inside which."""

    def __init__(self, calls: Calls, keep: Keep, root: str) -> None:
        self.calls, self.keep, self.root = calls, keep, root
        self.stack: list[Call] = []
        self._caches: list[Cache | None] = []
        self._counts: dict[str, int] = {}

    def enter(self, path: str, caches: list[Cache], feed: Feed) -> Call:
        index = self._counts.get(path, 0)
        self._counts[path] = index + 1
        caller = self.stack[-1].path if self.stack else self.root
        call = Call(path, index, caller, {})
        call.cache = next((cache for cache in caches if cache not in self._caches), None)
        self._caches.append(call.cache)
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
        self._caches.pop()
        if self.keep(call.path, call.index):
            call.output = output
            self.calls.returned.append(call)

    def fail(self) -> None:
        """The running call raises. The innermost one is remembered."""
        call = self.stack.pop()
        self._caches.pop()
        self.calls.failed = self.calls.failed or call


@contextmanager
def observe(
    side: Side, component: str, keep: Keep, feed: Feed | None = None, enter: Keep = keep_all
) -> Iterator[Calls]:
    """Note every call in a side's network; with `feed`, also replace what goes in and out by what `feed` holds.

    Args:
        side: with the component's module. Arrays are noted in the official layout.
        component: its name, the prefix of all paths and the caller of its outermost modules.
        keep: which calls are noted.
        feed: (path, call index) -> the reference's call in the working dtype.
        enter: which calls are run although they are fed; all others are answered, once the module was run before.
    """
    calls, feed, returned = Calls(), feed or {}, dict[str, Any]()
    recorder, memory = _Recorder(calls, keep, component), _Memory()

    def answer(call: ModuleCall) -> Any:
        module, function = call.module, side.parameters_of(call.module)
        arguments = _bind(function, call.args, call.kwargs)
        caches = [value for value in arguments.values() if isinstance(value, Cache)]
        noted = recorder.enter(call.path, caches, feed)
        right, kept = feed.get((call.path, noted.index)), keep(call.path, noted.index)
        if kept:
            note, known = partial(side.noted, module, incoming=True), right.arguments if right else {}
            noted.arguments = {name: memory.map(value, note, known.get(name)) for name, value in arguments.items()}
        if right is not None:
            put = partial(side.fed, module, incoming=True)
            replaced = {name: _replace(own, right.arguments.get(name, own), put) for name, own in arguments.items()}
            call.args, call.kwargs = _unbind(function, replaced)
        if right is not None and call.path in returned and not enter(call.path, noted.index):
            noted.answered = True
            recorder.leave(None)
            return _replace(returned[call.path], right.output, partial(side.fed, module))
        try:
            output = call.run()
            noted_output = memory.map(output, partial(side.noted, module), right and right.output) if kept else None
        except Exception:
            recorder.fail()
            raise
        recorder.leave(noted_output)
        returned[call.path] = output
        return output if right is None else _replace(output, right.output, partial(side.fed, module))

    with intercepted({f"{component}.{path}": module for path, module in side.modules().items()}, answer):
        yield calls
