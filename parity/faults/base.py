"""What a fault is, and the ways to put one into a live model and take it out again."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import CodeType, FunctionType
from typing import Any, NamedTuple
from unittest import mock

from mlx_parity.intercept import intercepted
from parity.pair import Pair
from parity.stages.base import Streaming

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


class Planted(NamedTuple):
    """A mistake at its place."""

    place: Place
    switch: Switch


#: "name: what the porter did" -> the mistake.
Mistakes = Mapping[str, Planted]


def faults_of(stage: str, mistakes: Mistakes, streaming: Streaming | None = None) -> tuple[Fault, ...]:
    """The faults of a stage; `streaming` as the attribute, of those whose place says nothing of it."""

    def fault(title: str, place: Place, switch: Switch) -> Fault:
        name, _, mistake = title.partition(": ")
        return Fault(name, stage, mistake, place.paths, place.kind, switch, place.streaming or streaming)

    return tuple(fault(title, *planted) for title, planted in mistakes.items())


def at(*paths: str, kind: str = "glue", streaming: Streaming | None = None) -> Place:
    """Where mistakes are; arguments as the attributes `expected`, `kind` and `streaming` of `Fault`."""
    return Place(paths, kind, streaming)


@dataclass(frozen=True)
class Place:
    """The modules that mistakes are in, and so the ones to be named. Each method makes a mistake of another kind."""

    paths: tuple[str, ...]
    kind: str
    streaming: Streaming | None
    function: Any = None

    def of(self, function: Any) -> Place:
        """The same, where a function's code is edited and not that of the modules' call."""
        return replace(self, function=function)

    def by(self, switch: Switch) -> Planted:
        """Whatever `switch` does."""
        return Planted(self, switch)

    def sets(self, **values: Any) -> Planted:
        """The modules have other attributes: `setting`."""
        return self.by(lambda pair: setting(self.modules(pair), **values))

    def edits(self, *texts: str, of: Any = None, **names: Any) -> Planted:
        """What the code says is said otherwise: `edited`. It is that of the modules' call, or of a function."""
        function = of or self.function
        if function is not None:
            return self.by(lambda pair: edited(function, *texts, **names))
        return self.by(
            lambda pair: behaving(modules := self.modules(pair), _rewritten(_call_of(modules), texts, names))
        )

    def behaves(self, call: Callable[..., Any]) -> Planted:
        """The modules run `call(self, ...)`; `self(...)` is what they ran."""
        return self.by(lambda pair: behaving(self.modules(pair), call))

    def wraps(self, owner: Any, attribute: str, call: Callable[..., Any]) -> Planted:
        """`call(original, ...)` is called for an attribute of `owner`."""
        return self.by(lambda pair: wrapped(owner, attribute, call))

    def patches(self, owner: Any, attribute: str, value: Any) -> Planted:
        """A module, class or object has another attribute."""
        return self.by(lambda pair: patched(owner, attribute, value))

    def modules(self, pair: Pair) -> list[Any]:
        return modules_at(pair, *self.paths)


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
    return patched(owner, name, lambda *args, **kwargs: call(original, *args, **kwargs))


@contextmanager
def edited(function: Any, *texts: str, **names: Any) -> Iterator[None]:
    """Let a function run other code, whoever calls it.

    Args:
        function: what it calls is what its file imports ...
        texts: by turns what its source says once, and what it is to say.
        names: ... and these.

    Raises:
        ValueError: it does not say that, or more than once.
    """
    own = function.__code__
    function.__code__ = _rewritten(function, texts, names).__code__
    try:
        with mock.patch.dict(function.__globals__, names):
            yield
    finally:
        function.__code__ = own


def _rewritten(function: Any, texts: tuple[str, ...], names: Mapping[str, Any]) -> FunctionType:
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in zip(texts[::2], texts[1::2], strict=True):
        if source.count(old) != 1:
            raise ValueError(f"{function.__qualname__} says {old!r} {source.count(old)} times: adapt the fault to it")
        source = source.replace(old, new)
    # within a class, for those that call `super()`
    body = textwrap.indent(source, " ")
    code = compile(f"class _:\n{body}", function.__code__.co_filename, "exec", annotations.compiler_flag)
    for name in ("_", function.__name__):
        code = next(one for one in code.co_consts if isinstance(one, CodeType) and one.co_name == name)
    known = {**function.__globals__, **names}
    closure = function.__closure__ if code.co_freevars else None
    made = FunctionType(code, known, function.__name__, function.__defaults__, closure)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _call_of(modules: list[Any]) -> Any:
    (kind,) = {type(module) for module in modules}
    return kind.__call__


class NoPlaceError(ValueError):
    """A model has no module of those that a fault is made in."""


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
        raise NoPlaceError(f"no module of the model fits {pattern}")
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
def exchanged(*pairs: Iterable[tuple[Any, str]]) -> Iterator[None]:
    """Let two attributes, each given as (module, its name), have each other's value; so pair by pair."""
    with ExitStack() as stack:
        for (one, name), (other, its) in pairs:
            first, second = getattr(one, name), getattr(other, its)
            stack.enter_context(setting([one], **{name: second}))
            stack.enter_context(setting([other], **{its: first}))
        yield


@contextmanager
def without(modules: list[Any], name: str) -> Iterator[None]:
    """Take a parameter away from modules, as if they had been built without it."""
    before = [module.pop(name) for module in modules]
    try:
        yield
    finally:
        for module, value in zip(modules, before, strict=True):
            module[name] = value


def behaving(modules: list[Any], call: Callable[..., Any]) -> Context:
    """Let modules run `call(self, ...)`, which has the parameters of their own `__call__`."""
    return intercepted(
        {str(number): module for number, module in enumerate(modules)},
        lambda stopped: call(stopped.module, *stopped.args, **stopped.kwargs),
    )
