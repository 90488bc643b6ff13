"""Which thread computes when, and on which of MLX's streams; why a forked process does not compute at all.

MLX's arrays are lazy, and what is not computed yet can only be computed on the stream that it was made for, which
belongs to one thread. So whatever is handed on to another thread is evaluated first. Beyond that:

- Audio is made in turns, a chunk a turn, in the order of asking. Any number of threads may ask; side by side they would
  take as long together, more memory, and the processors from each other.
- On the CPU, MLX starts a thread of its own for every stream and never ends it. So streams are lent, and not made for
  each of the threads that come and go. Elsewhere a stream ends with its thread.
- A forked process inherits the locks of MLX's threads but not the threads: it would wait for ever.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx

from mlx_cosyvoice.nn.backend import devices, in_cpu_form

#: How many streams can be lent at a time. A thread that finds none uses its own.
STREAMS = 64
#: How long the end of the process waits for the chunk that is being computed, in seconds.
PATIENCE = 5.0


class ForkedError(RuntimeError):
    """This process was forked from one in which a model was at work."""


class _Process:
    """What this process has been through."""

    used = False
    forked = False


def _in_forked_child() -> None:
    _Process.forked = _Process.forked or _Process.used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)


def is_forked() -> bool:
    """Whether this process was forked from one in which a model was at work."""
    return _Process.forked


def check_not_forked() -> None:
    """To be called before anything of a model is used.

    Raises:
        ForkedError: this process cannot compute.
    """
    if _Process.forked:
        raise ForkedError(
            "this process was forked from one in which a model was at work, which MLX does not survive: load the model "
            "after the fork (gunicorn: without --preload), or start processes anew (multiprocessing: 'spawn')"
        )


class _Queue:
    """A lock that those who wait acquire in the order in which they came; a thread may acquire it several times."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, threading.Lock]] = deque()
        self._holder: int | None = None
        self._depth = 0

    def enter(self, timeout: float = -1) -> bool:
        """Wait for the lock, at most `timeout` seconds; whether it was acquired."""
        thread, gate = threading.get_ident(), threading.Lock()
        with self._lock:
            if self._holder in (None, thread):
                self._holder = thread
                self._depth += 1
                return True
            gate.acquire()
            self._waiting.append((thread, gate))
        acquired = False
        try:
            acquired = gate.acquire(timeout=timeout)
        finally:
            if not acquired:
                self._withdraw(thread, gate)
        return acquired

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth:
                self._holder = None
                if self._waiting:
                    self._holder, gate = self._waiting.popleft()
                    self._depth = 1
                    gate.release()

    def _withdraw(self, thread: int, gate: threading.Lock) -> None:
        """Of one who waits no longer. It may have acquired the lock in this very moment."""
        with self._lock:
            try:
                self._waiting.remove((thread, gate))
                return
            except ValueError:
                pass
        self.leave()


class _Streams:
    """Streams that any thread may use, but one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[mx.Stream] = []
        self._of_turns: tuple[mx.Stream, ...] = ()

    @property
    def of_turns(self) -> tuple[mx.Stream, ...]:
        """Those for whoever has the turn: of the CPU, where files are read, and of the device that computes."""
        with self._lock:
            self._make()
            return self._of_turns

    def take(self) -> mx.Stream | None:
        """One that is free, if there is any: the one returned last, whose thread has been started already."""
        with self._lock:
            self._make()
            return self._free.pop() if self._free else None

    def give_back(self, stream: mx.Stream) -> None:
        with self._lock:
            self._free.append(stream)

    def _make(self) -> None:
        # All at once, before any is used: MLX looks them up without a lock.
        if not self._of_turns:
            self._of_turns = tuple(mx.new_thread_unsafe_stream(device) for device in devices())
            if len(self._of_turns) == 1:
                self._free = [mx.new_thread_unsafe_stream(mx.cpu) for _ in range(STREAMS)]


_queue, _streams = _Queue(), _Streams()


@contextmanager
def _on(*streams: mx.Stream) -> Iterator[None]:
    # Not by mx.stream, which changes the device of all threads for a moment.
    before = [mx.default_stream(stream.device) for stream in streams]
    for stream in streams:
        mx.set_default_stream(stream)
    try:
        yield
    finally:
        for stream in before:
            mx.set_default_stream(stream)


def _begin() -> None:
    check_not_forked()
    _Process.used = True


@contextmanager
def lent_stream() -> Iterator[None]:
    """Within, this thread computes on a stream that nobody else uses meanwhile. What outlives it must be evaluated.

    Raises:
        ForkedError: this process cannot compute.
    """
    _begin()
    stream = _streams.take() if in_cpu_form() else None
    if stream is None:
        yield
        return
    try:
        with _on(stream):
            yield
    finally:
        _streams.give_back(stream)


@contextmanager
def turn() -> Iterator[None]:
    """Within, this thread alone has the turn. It must not wait there for anything but its own computation.

    A turn within a turn is part of it. All turns are on the same streams: what one leaves to be computed, another may.

    Raises:
        ForkedError: this process cannot compute.
    """
    _begin()
    _queue.enter()
    try:
        with _on(*_streams.of_turns):
            yield
    finally:
        _queue.leave()


@atexit.register
def _last_turn() -> None:
    """A thread within MLX when Python ends would abort the process, so nobody has a turn any more."""
    if not _Process.forked:
        _queue.enter(PATIENCE)
