"""What a fault is, and the ways to put one into a live model and take it out again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from parity.intercept import intercepted
from parity.pair import Pair
from parity.stages.base import Streaming

#: Switches a fault on in `pair.model` for as long as the context lasts.
Switch = Callable[[Pair], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Fault:
    """A porting mistake that somebody has made or could make.

    Attributes:
        name: in kebab case.
        stage: the stage that it is in, and on which it is looked for.
        mistake: what the porter did, in one sentence.
        expected: official paths of the modules to be named; "*" stands for one name in a path.
        kind: what the culprit is expected to be called: "weights", "leaf" or "glue".
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
        paths: set[str] = set()
        for pattern in self.expected:
            if "*" not in pattern:
                paths.add(pattern)
                continue
            fitting = re.compile(re.escape(pattern).replace(r"\*", r"[^.]+"))
            component = pattern.partition(".")[0]
            names = (f"{component}.{name}" for name, _ in getattr(pair.model, component).named_modules())
            found = {name for name in names if fitting.fullmatch(name)}
            if not found:
                raise ValueError(f"fault {self.name}: no module of the model fits {pattern}")
            paths |= found
        return paths


class Catalogue:
    """The faults of one stage; `@catalogue.add(...)` above a switch enters it."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.faults: list[Fault] = []

    def add(
        self, name: str, mistake: str, *expected: str, kind: str = "glue", streaming: Streaming | None = None
    ) -> Callable[[Switch], Switch]:
        """Enter the decorated switch as a fault of this stage; arguments as the attributes of `Fault`."""

        def enter(switch: Switch) -> Switch:
            self.faults.append(Fault(name, self.stage, mistake, expected, kind, switch, streaming))
            return switch

        return enter


def patched(owner: Any, name: str, value: Any) -> AbstractContextManager[Any]:
    """Give a module, class or object another attribute."""
    return mock.patch.object(owner, name, value)


class Borrowed:
    """A namespace with some names of its own; all others are another one's."""

    def __init__(self, original: Any, **own: Any) -> None:
        self.__dict__.update(own)
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def calling(file: Any, library: str, **functions: Any) -> AbstractContextManager[Any]:
    """Give the code of one file another function of a library (`mx`, `nn`, ...); the rest of it stays."""
    return patched(file, library, Borrowed(getattr(file, library), **functions))


def modules_at(pair: Pair, *patterns: str) -> list[Any]:
    """The MLX modules at official paths; "*" stands for one name."""
    found = []
    for pattern in patterns:
        component, _, path = pattern.partition(".")
        fitting = re.compile(re.escape(path).replace(r"\*", r"[^.]+"))
        modules = getattr(pair.model, component).named_modules()
        found += [module for name, module in modules if fitting.fullmatch(name)]
    if not found:
        raise ValueError(f"no module of the model fits {', '.join(patterns)}")
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
