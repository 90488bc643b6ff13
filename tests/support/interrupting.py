"""Raises an exception at the n-th line that is executed in certain files."""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest


@dataclass
class Lines:
    """What was executed.

    Attributes:
        at: for each executed line its file and number, in order.
        raised: whether the exception was raised.
        place: before which line it was to be raised.
    """

    at: list[tuple[str, int]] = field(default_factory=list)
    raised: bool = False
    place: int | None = None

    @property
    def met(self) -> bool:
        """Whether it was raised, if there were so many lines.

        A thread waits for another one in a line that it leaves out where that one has ended already, so a run can have
        a line or two fewer than the one before.
        """
        return self.raised or (self.place is not None and len(self.at) <= self.place < len(self.at) + 4)

    def first_and_last(self) -> list[int]:
        """Places of `at`: of each line the first and the last time that it was executed."""
        first: dict[tuple[str, int], int] = {}
        last: dict[tuple[str, int], int] = {}
        for place, line in enumerate(self.at):
            first.setdefault(line, place)
            last[line] = place
        return sorted({*first.values(), *last.values()})


@contextmanager
def interrupted(
    modules: Collection[ModuleType],
    place: int | None,
    error: Callable[[], BaseException] = KeyboardInterrupt,
    *,
    elsewhere: bool = False,
    instructions: bool = False,
) -> Iterator[Lines]:
    """Within the block `error` is raised before the line of that place is executed; None to count lines only.

    Args:
        modules: whose lines count.
        place: which of the executed lines, from 0.
        error: makes the exception.
        instructions: count each instruction of Python's virtual machine instead of each line.
        elsewhere: count and raise in threads that are started within the block, not in this one.
    """
    lines, names = Lines(place=place), {str(module.__file__) for module in modules}
    lock = threading.Lock()

    def at_line(frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes = instructions
        if event != ("opcode" if instructions else "line"):
            return at_line
        with lock:
            here = len(lines.at)
            lines.at.append((Path(frame.f_code.co_filename).name, frame.f_lineno))
        if here == place:
            lines.raised = True
            raise error()
        return at_line

    def at_call(frame: FrameType, event: str, argument: Any) -> Any:
        return at_line if frame.f_code.co_filename in names else None

    def start(work: Callable[..., object], arguments: tuple[Any, ...]) -> int:
        def traced() -> None:
            sys.settrace(at_call)
            work(*arguments)

        return start_new_thread(traced, ())

    if elsewhere:
        start_new_thread = _thread.start_new_thread
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_thread, "start_new_thread", start)
            yield lines
        return
    before = sys.gettrace()
    sys.settrace(at_call)
    try:
        yield lines
    finally:
        sys.settrace(before)
