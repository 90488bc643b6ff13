"""What a fault is, and the ways to put one into a live model and take it out again."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from unittest import mock

from mlx_parity.intercept import intercepted
from parity.pair import Pair
from parity.stages.base import Streaming

F = TypeVar("F", bound=Callable[..., Any])

Context = AbstractContextManager[Any]

#: Switches a fault on in `pair.model` for as long as the context lasts.
Switch = Callable[[Pair], Context]


@dataclass(frozen=True)
class Fault:
    """A porting mistake that somebody has made or could make.

    Attributes:
        name: in kebab case.
        stage: the stage that it is in, and on which it is looked for.
        mistake: what the porter did, in one sentence.
        expected: official paths of the modules to be named; "*" stands for one name in a path.
        kind: what the culprit is expected to be called: one of `mlx_parity.findings.KINDS`.
        switch: puts the mistake into a live model.
        streaming: how speech is streamed where it shows; None where it shows offline.
    """

    name: str
    stage: str
    mistake: str
    expected: tuple[str, ...]
    kind: str
    switch: Switch
    streaming: Streaming | None = None

    def expected_modules(self, pair: Pair) -> set[str]:
        """The paths that `expected` stands for in this model. A path without "*" stands for itself.

        Raises:
            ValueError: a pattern that fits no module.
        """
        patterns = [pattern for pattern in self.expected if "*" in pattern]
        return {*self.expected}.difference(patterns).union(*(_fitting(pair, pattern) for pattern in patterns))


class Catalogue:
    """The faults of one stage."""

    def __init__(self, stage: str, streaming: Streaming | None = None) -> None:
        self.stage, self.streaming = stage, streaming
        self.faults: list[Fault] = []

    def at(self, *paths: str, kind: str = "glue", streaming: Streaming | None = None) -> Place:
        """Where faults will be entered; arguments as the attributes `expected`, `kind` and `streaming` of `Fault`."""
        return Place(self, paths, kind, streaming or self.streaming)


@dataclass(frozen=True)
class Place:
    """The modules that faults are in, and so the ones to be named.

    Where a method decorates a function, the fault is called as the function is and its docstring is the mistake.
    """

    catalogue: Catalogue
    paths: tuple[str, ...]
    kind: str
    streaming: Streaming | None

    def add(self, name: str, mistake: str, switch: Switch) -> None:
        """Enter a fault; arguments as the attributes of `Fault`."""
        stage = self.catalogue.stage
        self.catalogue.faults.append(Fault(name, stage, mistake, self.paths, self.kind, switch, self.streaming))

    def setting(self, name: str, mistake: str, **values: Any) -> None:
        """Enter a fault in which the modules have other attributes: `setting`."""
        self.add(name, mistake, lambda pair: setting(self.modules(pair), **values))

    def patching(self, name: str, mistake: str, owner: Any, attribute: str, value: Any) -> None:
        """Enter a fault in which a module, class or object has another attribute: `patched`."""
        self.add(name, mistake, lambda pair: patched(owner, attribute, value))

    def calling(self, name: str, mistake: str, file: Any, library: str, **functions: Any) -> None:
        """Enter a fault in which the code of a file calls other functions of a library: `calling`."""
        self.add(name, mistake, lambda pair: calling(file, library, **functions))

    def behaves(self, name: str, mistake: str, call: Callable[..., Any]) -> None:
        """Enter a fault in which the modules run `call(self, ...)`; `self(...)` is what they ran."""
        self.add(name, mistake, lambda pair: behaving(self.modules(pair), call))

    def wraps(self, name: str, mistake: str, owner: Any, attribute: str, call: Callable[..., Any]) -> None:
        """Enter a fault in which `call(original, ...)` is called for an attribute of `owner`."""
        self.add(name, mistake, lambda pair: wrapped(owner, attribute, call))

    def switching(self, switch: F) -> F:
        """Enter a fault that is switched on by the decorated function of the pair."""
        return self._enter(switch, switch)

    def behaving(self, call: F) -> F:
        """Enter a fault in which the modules run the decorated `call(self, ...)`; `self(...)` is what they ran."""
        return self._enter(call, lambda pair: behaving(self.modules(pair), call))

    def wrapping(self, owner: Any, attribute: str) -> Callable[[F], F]:
        """Enter a fault in which the decorated `call(original, ...)` is called for an attribute of `owner`."""
        return lambda call: self._enter(call, lambda pair: wrapped(owner, attribute, call))

    def modules(self, pair: Pair) -> list[Any]:
        return modules_at(pair, *self.paths)

    def _enter(self, function: F, switch: Switch) -> F:
        self.add(function.__name__.replace("_", "-"), " ".join((function.__doc__ or "").split()), switch)
        return function


def patched(owner: Any, name: str, value: Any) -> Context:
    """Give a module, class or object another attribute."""
    return mock.patch.object(owner, name, value)


def replaced(config: Any, field: str, value: Any) -> Any:
    """A configuration with another value at the path of a field."""
    name, _, rest = field.partition(".")
    return replace(config, **{name: replaced(getattr(config, name), rest, value) if rest else value})


def wrapped(owner: Any, name: str, call: Callable[..., Any]) -> Context:
    """Let `call(original, ...)` be called in place of a function or method of a module, class or object."""
    original = getattr(owner, name)

    def calling(*args: Any, **kwargs: Any) -> Any:
        return call(original, *args, **kwargs)

    static = isinstance(inspect.getattr_static(owner, name), staticmethod)
    return patched(owner, name, staticmethod(calling) if static else calling)


class Borrowed:
    """A namespace with some names of its own; all others are another one's."""

    def __init__(self, original: Any, **own: Any) -> None:
        self.__dict__.update(own)
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def calling(file: Any, library: str, **functions: Any) -> Context:
    """Give the code of one file another function of a library (`mx`, `nn`, ...); the rest of it stays."""
    return patched(file, library, Borrowed(getattr(file, library), **functions))


def modules_at(pair: Pair, *patterns: str) -> list[Any]:
    """The MLX modules at official paths; "*" stands for one name."""
    return [module for pattern in patterns for module in _fitting(pair, pattern).values()]


def _fitting(pair: Pair, pattern: str) -> dict[str, Any]:
    """Official path -> MLX module, of those that a pattern fits."""
    component, _, path = pattern.partition(".")
    fitting = re.compile(re.escape(path).replace(r"\*", r"[^.]+"))
    modules = getattr(pair.model, component).named_modules()
    found = {f"{component}.{name}": module for name, module in modules if fitting.fullmatch(name)}
    if not found:
        raise ValueError(f"no module of the model fits {pattern}")
    return found


@contextmanager
def setting(modules: list[Any], **values: Any) -> Iterator[None]:
    """Give modules other attributes, weights included. A callable value gets the old one."""
    before = [{name: getattr(module, name) for name in values} for module in modules]
    try:
        for module, old in zip(modules, before, strict=True):
            for name, value in values.items():
                setattr(module, name, value(old[name]) if callable(value) else value)
        yield
    finally:
        for module, old in zip(modules, before, strict=True):
            for name, value in old.items():
                setattr(module, name, value)


@contextmanager
def without(modules: list[Any], name: str) -> Iterator[None]:
    """Take a parameter away from modules, as if they had been built without it."""
    before = [module.pop(name) for module in modules]
    try:
        yield
    finally:
        for module, value in zip(modules, before, strict=True):
            module[name] = value


def behaving(modules: list[Any], call: Callable[..., Any]) -> AbstractContextManager[None]:
    """Let modules run `call(self, ...)`, which has the parameters of their own `__call__`."""
    return intercepted(
        {str(number): module for number, module in enumerate(modules)},
        lambda stopped: call(stopped.module, *stopped.args, **stopped.kwargs),
    )
