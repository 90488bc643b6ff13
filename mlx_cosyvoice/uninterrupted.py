"""Work that no Ctrl-C falls into."""

from __future__ import annotations

import _thread
import contextlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


def uninterrupted(
    work: Callable[[], T], *, lock: threading.Lock | None = None, hurry: Callable[[], None] = lambda: None
) -> T:
    """Do `work` where no signal reaches it; an exception that a signal raises meanwhile is raised after its end.

    Python runs the handlers of signals in the main thread, between any two of its instructions. No order of statements
    is safe from that, but another thread is. Called from another thread, this is a plain call.

    Args:
        work: whatever must be done wholly or not at all.
        lock: held during `work`, which then never runs twice at a time.
        hurry: called when such an exception comes while `work` goes on, which should then end soon.

    Returns:
        What `work` returns; what it raises is raised.
    """
    if threading.current_thread() is not threading.main_thread():
        with lock or contextlib.nullcontext():
            return work()
    job = _Job(work, lock)
    try:
        job.start()
        job.wait()
    except BaseException:
        hurry()
        job.settle()
        raise
    return job.result()


class _Job(Generic[T]):
    """Made of plain locks: an exception of a signal within `Event` or `Thread.start` may leave them locked for ever."""

    def __init__(self, work: Callable[[], T], lock: threading.Lock | None) -> None:
        self._work, self._lock = work, lock
        self._claim, self._ended = threading.Lock(), threading.Lock()
        self._ended.acquire()
        self._is_over = False
        self._results: list[T] = []
        self._error: BaseException | None = None

    def start(self) -> None:
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError:  # there can be no more threads, as at the end of the interpreter
            self._run()

    def wait(self) -> None:
        while not self._is_over:
            self._ended.acquire()

    def settle(self) -> None:
        """Wait for the end of what has begun; what has not begun never will."""
        if self._claim.acquire(blocking=False):
            del self._work
        else:
            self.wait()

    def result(self) -> T:
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            return self._results[0]
        finally:
            del error  # it would hold this frame, and the frame it

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        try:
            with self._lock or contextlib.nullcontext():
                self._results.append(self._work())
        except BaseException as error:  # raised again by the caller's thread
            self._error = error
        finally:
            del self._work  # or the last to hold its owner may be this thread, later
            self._is_over = True
            self._ended.release()
