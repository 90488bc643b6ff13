"""The one way in which the harness steps between a module and its callers, in either framework.

A live instance gets a subclass of its own class whose `__call__` (or another method) asks somebody else: that sees
the arguments, may change them, runs the module or does not, and returns what the caller gets.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class ModuleCall:
    """One call that was stopped on its way. `args` and `kwargs` may be changed before `run`."""

    path: str
    module: Any
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self) -> Any:
        """Let the module do what it was asked for. It may be run more than once."""
        return getattr(self.module, self.method)(*self.args, **self.kwargs)


@contextmanager
def intercepted(
    modules: Mapping[str, Any], answer: Callable[[ModuleCall], Any], method: str = "__call__"
) -> Iterator[None]:
    """Let `answer` return in place of every module, PyTorch's or MLX's, while the context lasts.

    While it answers, the module is as it was before; so contexts can be nested, and an answer may open others.

    Args:
        modules: path -> live instance.
        answer: gets the call, and returns what the caller will.
        method: the method that is called, where it is another one.
    """
    classes = {path: type(module) for path, module in modules.items()}
    answers = [answer]
    try:
        for path, module in modules.items():
            module.__class__ = _asking(path, classes[path], answers, method)
        yield
    finally:
        for path, module in modules.items():
            module.__class__ = classes[path]
        answers.clear()  # classes live on until cycles are collected, and so would whole networks and what they made


def _asking(path: str, cls: type, answers: Sequence[Callable[[ModuleCall], Any]], method: str) -> type:
    @functools.wraps(getattr(cls, method))  # the parameters can still be read off
    def ask(self: Any, *args: Any, **kwargs: Any) -> Any:
        asking, self.__class__ = type(self), cls
        try:
            return answers[0](ModuleCall(path, self, method, args, kwargs))
        finally:
            self.__class__ = asking

    return type(cls.__name__, (cls,), {method: ask})
