"""Does something at a chosen line of some modules, counted as they are run: a kill, an interrupt, what others do."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType, ModuleType
from typing import Any


def lines_of(modules: Iterable[ModuleType], run: Callable[[], object]) -> int:
    """How many lines of the modules are run by `run`."""
    count = [0]

    def step() -> None:
        count[0] += 1

    before_lines(modules, run, step)
    return count[0]


def at_line(number: int, modules: Iterable[ModuleType], run: Callable[[], object], act: Callable[[], object]) -> None:
    """Run `run`, and `act` before the line of that number; whatever `act` raises, that line raises."""
    count = [0]

    def step() -> None:
        count[0] += 1
        if count[0] == number:
            act()

    before_lines(modules, run, step)


def killed_at_line(number: int, modules: Iterable[ModuleType], run: Callable[[], object]) -> bool:
    """Run `run` in a process of its own, which is killed before the line of that number. Returns whether it was."""
    child = os.fork()
    if child == 0:
        try:
            at_line(number, modules, run, lambda: os.kill(os.getpid(), signal.SIGKILL))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def before_lines(modules: Iterable[ModuleType], run: Callable[[], object], step: Callable[[], object]) -> None:
    """Run `run`, and `step` before each line of the modules."""
    files = {module.__file__ for module in modules}

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            step()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
