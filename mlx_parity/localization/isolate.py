"""Isolation: every module is fed what the reference's module was fed, so that its output shows its own error only.

One pass over a model does it. At every call of a module the incoming arguments are noted and replaced by the
reference's, and its output is noted and replaced by the reference's. Nothing accumulates: an argument that comes in
wrong was made wrong by the code between modules (the caller's glue), an output that is wrong was made so by the module
itself (a leaf) or by what it does after its last child (its glue). The float64 reference is run the same way; the
distance between it and the captured values is the noise floor of every place.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mlx_parity.intercept import ModuleCall, intercepted
from mlx_parity.localization.beside import beside
from mlx_parity.sides import Side

if TYPE_CHECKING:
    from mlx_parity.stage import Stage

#: The name of a module's first argument, whatever the two sides call it.
INPUT = "input"

#: Arguments by name, or an output: arrays in the reference's layout (float64 or float32, integers, booleans), numbers,
#: flags, None, and tuples of these. What is none of them (a cache object) is left out.
Value = Any


@dataclass
class Call:
    """One call of a module, as it was observed.

    It is `isolated` if all calls inside it were fed. `state` is what of its arguments carries something from one call
    to the next, unless its caller had the same. `answered` says that the module was not run: the reference's output
    stood in for its own. It is `bare` if its first argument is neither an array nor holds any.
    """

    path: str
    index: int
    caller: str
    arguments: dict[str, Value]
    output: Value = None
    children: int = 0
    isolated: bool = True
    state: Any = None
    answered: bool = False
    bare: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """By which the other side's same call is found."""
        return self.path, self.index


#: The reference's calls by (path, call index): what a run is fed.
Feed = Mapping[tuple[str, int], Call]

#: The same, held as they are.
CallsByKey = dict[tuple[str, int], Call]


@dataclass
class Calls:
    """All calls of a run. `entered` and `returned` are in time order; `failing` is what raised, and what is around it.

    The run is `isolated` if all outermost calls were fed.
    """

    entered: list[Call] = field(default_factory=list)
    returned: list[Call] = field(default_factory=list)
    failing: list[Call] = field(default_factory=list)
    isolated: bool = True

    @property
    def failed(self) -> Call | None:
        """The innermost call that raised, if one did."""
        return self.failing[0] if self.failing else None

    def by_key(self) -> dict[tuple[str, int], Call]:
        return {call.key: call for call in self.entered}


class _Opaque:
    """Stands for a value that cannot be compared across frameworks; there is one, also after it was pickled."""

    def __reduce__(self) -> str:
        return "OPAQUE"


OPAQUE = _Opaque()


class _Arguments(dict[str, Any]):
    """The arguments of a call by name, defaults included; the first one under `INPUT`."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        signature = inspect.signature(function)
        bound = signature.bind(None, *args, **kwargs)
        bound.apply_defaults()
        self._args, self._kwargs, self._names = args, kwargs, dict[str, str]()
        for place, (name, value) in enumerate(list(bound.arguments.items())[1:]):
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                self.update(value)
            elif kind is not inspect.Parameter.VAR_POSITIONAL:
                key = INPUT if place == 0 else name
                self[key], self._names[name] = value, key

    def replaced(self, values: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments of the same call with other values, each passed as it was."""
        keys = list(self._names.values())
        args = (*(values[key] for key in keys[: len(self._args)]), *self._args[len(keys) :])
        kwargs = {name: values[self._names.get(name, name)] for name in self._kwargs}
        for name, key in list(self._names.items())[len(self._args) :]:
            if values[key] is not self[key]:
                kwargs[name] = values[key]
        return args, kwargs


def _map(side: Side, value: Value, array: Callable[[Any], Any]) -> Value:
    """Apply `array` to every array in a value; what cannot cross frameworks becomes `OPAQUE`."""
    if side.is_array(value):
        return array(value)
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return tuple(_map(side, item, array) for item in value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return OPAQUE


def is_nothing(value: Value) -> bool:
    """Whether it says no more than None does: no numbers at all, or a mask that masks nothing."""
    if isinstance(value, np.ndarray):
        return not value.size or (value.dtype == bool and bool(value.all()))
    return value is None


def _replace(side: Side, own: Value, right: Value, array: Callable[[Any, Any], Any]) -> Value:
    """`own` with the reference's values in place of its arrays, flags and numbers, where there are any."""
    mine = isinstance(own, side.array_type)
    if isinstance(right, tuple) and right and mine:
        right = right[0]  # the reference's layer returns its cache as well, where ours keeps it elsewhere
    if isinstance(own, (tuple, list, Mapping)) and isinstance(right, tuple) and len(own) == len(right):
        values = own.values() if isinstance(own, Mapping) else own
        replaced = tuple(_replace(side, a, b, array) for a, b in zip(values, right, strict=True))
        return _filled(own, replaced) if isinstance(own, Mapping) else replaced
    if isinstance(right, np.ndarray) and (own is None or mine):
        return array(own, right)
    if isinstance(own, (bool, int, float)) and isinstance(right, (bool, int, float)):
        return right
    if right is None and mine and not is_nothing(side.numpy(own)):
        return None
    return own


def _replace_output(side: Side, own: Value, right: Value, array: Callable[[Any, Any], Any]) -> Value:
    """The same for what a module returns. Beside its result, which is first, it may return what its twin does not."""
    rights = right if isinstance(right, tuple) else (right,)
    if isinstance(own, (tuple, list)) and own and rights and len(own) != len(rights):
        return (_replace(side, own[0], rights[0], array), *own[1:])
    return _replace(side, own, right, array)


def _filled(own: Mapping[str, Any], values: tuple[Any, ...]) -> Mapping[str, Any]:
    """The mapping itself with other values under its keys, which whoever else holds it sees: layers may share one.

    One that cannot be changed is copied.
    """
    made: Any = own if isinstance(own, MutableMapping) else copy.copy(own)
    for key, value in zip(tuple(own), values, strict=True):
        made[key] = value
    return made


class _Memory:
    """Holds equal arrays once: what a module returns goes, mostly as it is, into the next one.

    What is of float64 is held `Beside` the other side's.
    """

    def __init__(self) -> None:
        self._last: dict[int, np.ndarray] = {}  # by the tensor's id, which another one may have had before

    def map(self, side: Side, value: Value, note: Callable[..., np.ndarray], right: Value = None) -> Value:
        """A value as it is noted; `right` is what the other side noted in its place."""
        if isinstance(right, tuple):
            if isinstance(value, (tuple, list)) and len(value) == len(right):
                return tuple(self.map(side, item, note, known) for item, known in zip(value, right, strict=True))
            right = right[0] if right else None

        def once(tensor: Any) -> Any:
            noted = note(tensor, like=right if isinstance(right, np.ndarray) else None)
            for other in (right, self._last.get(id(tensor))):
                if (
                    isinstance(other, np.ndarray)
                    and noted.dtype.kind == other.dtype.kind
                    and np.array_equal(noted, other)
                ):
                    return other
            held = beside(noted, right) if side.exact else noted
            if held is noted:
                self._last[id(tensor)] = noted
            return held

        return _map(side, value, once)


def _numbers(side: Side, value: Any) -> int | None:
    """How many numbers an array has; None of anything else."""
    return math.prod(value.shape) if side.is_array(value) else None


def _matched(path: str, index: int, feed: Feed, numbers: int | None) -> int:
    """Which of the reference's calls of a module its next one is, whose input has so many numbers.

    A side may leave a call out: then the one after it is of as many numbers, and the one that was due is not. Fed what
    was meant for that, all that follows would be of a wrong shape.
    """
    due, next_one = (
        right.arguments.get(INPUT) if (right := feed.get((path, at))) else None for at in (index, index + 1)
    )
    skips = isinstance(due, np.ndarray) and isinstance(next_one, np.ndarray) and next_one.size == numbers != due.size
    return index + skips


class _Recorder:
    """Keeps track of which module is running inside which."""

    def __init__(self, calls: Calls, stage: Stage) -> None:
        self.calls, self.keep, self.root = calls, stage.keep, stage.root
        self.stack: list[Call] = []
        self._states: list[Any] = []
        self._counts: dict[str, int] = {}

    def enter(self, path: str, states: list[Any], feed: Feed, numbers: int | None) -> Call:
        index = _matched(path, self._counts.get(path, 0), feed, numbers)
        self._counts[path] = index + 1
        caller = self.stack[-1].path if self.stack else self.root
        call = Call(path, index, caller, {})
        call.state = next((one for one in states if not any(one is known for known in self._states)), None)
        self._states.append(call.state)
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
        self._states.pop()
        if self.keep(call.path, call.index):
            call.output = output
            self.calls.returned.append(call)

    def fail(self) -> None:
        """The running call raises."""
        self._states.pop()
        self.calls.failing.append(self.stack.pop())


@contextmanager
def observe(side: Side, stage: Stage, feed: Feed | None = None) -> Iterator[Calls]:
    """Note every call in a side's network; with `feed`, also replace what goes in and out by what `feed` holds.

    Args:
        side: with its module. Arrays are noted in the reference's layout.
        stage: says what paths begin with, who runs the outermost modules, which calls are noted (`keep`), and which
            are run although they are fed (`entered`); all others are answered, once the module was run before.
        feed: (path, call index) -> the reference's call in the working dtype.
    """
    calls, feed, returned = Calls(), feed or {}, dict[str, Any]()
    recorder, memory = _Recorder(calls, stage), _Memory()

    def answer(call: ModuleCall) -> Any:
        module, function = call.module, side.parameters_of(call.module)
        arguments = _Arguments(function, call.args, call.kwargs)
        noted = recorder.enter(call.path, side.states(arguments), feed, _numbers(side, arguments.get(INPUT)))
        noted.bare = _map(side, arguments.get(INPUT), lambda array: True) in (None, OPAQUE)
        right, kept = feed.get((call.path, noted.index)), stage.keep(call.path, noted.index)
        known = right.arguments if right else {}
        arguments |= {name: side.spelled_out(one, known[name]) for name, one in arguments.items() if name in known}
        if kept:
            note = partial(side.noted, module, incoming=True)
            noted.arguments = {name: memory.map(side, one, note, known.get(name)) for name, one in arguments.items()}
        if right is not None:
            put = partial(side.fed, module, incoming=True)
            right_ones = {name: right.arguments.get(name, own) for name, own in arguments.items()}
            replaced = {name: _replace(side, own, right_ones[name], put) for name, own in arguments.items()}
            call.args, call.kwargs = arguments.replaced(replaced)
        if right is not None and call.path in returned and not stage.entered(call.path, noted.index):
            noted.answered = True
            recorder.leave(None)
            return _replace_output(side, returned[call.path], right.output, partial(side.fed, module))
        try:
            output = call.run()
            noted_output = (
                memory.map(side, output, partial(side.noted, module), right and right.output) if kept else None
            )
        except Exception:
            recorder.fail()
            raise
        recorder.leave(noted_output)
        returned[call.path] = output
        return output if right is None else _replace_output(side, output, right.output, partial(side.fed, module))

    with intercepted({f"{stage.prefix}{path}": module for path, module in side.modules().items()}, answer):
        yield calls
