"""A thread that runs the language model while the caller turns earlier tokens into audio."""

from __future__ import annotations

import asyncio
import atexit
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import mlx.core as mx

from mlx_cosyvoice.speech.sources import refuse_to_block
from mlx_cosyvoice.turns import PATIENCE, is_forked, lent_stream

T = TypeVar("T")

_BEGIN, _END = object(), object()

#: How long the end of the process waits for a thread that waits for text, in seconds: another model may be writing it.
_BRIEFLY = 0.2


class ClosedError(Exception):
    """Nothing more comes, because `RunAhead.close` was called."""


class RunAhead:
    """Reads utterances, iterables of tokens, on a thread of its own; at most `ahead` of them before they are wanted.

    Arrays must be evaluated before they reach the thread or leave it: MLX's streams belong to threads.

    Args:
        utterances: called on the thread; gives the utterances.
        ahead: how many utterances may be begun before the one that is being taken has ended.
    """

    def __init__(self, utterances: Callable[[], Iterable[Iterable[int]]], *, ahead: int = 1) -> None:
        self._permits = threading.Semaphore(ahead + 1)
        self._stopped = threading.Event()
        self._outside = False
        self._queue: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, args=(utterances,), name="mlx-cosyvoice language model", daemon=True
        )
        with _running_lock:
            _running.add(self)
        self._thread.start()

    def utterances(self) -> Iterator[Iterator[int]]:
        """The utterances, to be taken one after another; what is not read of one is skipped.

        Raises:
            ClosedError: `close` was called.
            Exception: what the thread failed with, after all that came before.
        """
        while self._get() is _BEGIN:
            tokens = self._tokens()
            yield tokens
            for _ in tokens:
                pass
            self._permits.release()

    @property
    def closed(self) -> bool:
        return self._stopped.is_set()

    def close(self) -> None:
        """End the thread after its present token, and a wait for tokens at once. May be called in any thread.

        A thread that waits for text is left to wait: it is a daemon.
        """
        if is_forked():  # there is no such thread here, and a lock may be taken for ever
            return
        self._stopped.set()
        self._permits.release()
        self._queue.put(_END)

    def join(self, end: float) -> None:
        """Wait until the thread has ended, or the time `end`; if it waits for text, not much longer than that takes."""
        brief_end = min(end, time.monotonic() + _BRIEFLY)
        while self._thread.is_alive() and time.monotonic() < (brief_end if self._outside else end):
            self._thread.join(0.01)

    def outside(self, pieces: Iterable[T]) -> Iterator[T]:
        """`pieces`, read on the thread while it counts as waiting.

        Raises:
            ClosedError: the tokens are not wanted any more.
        """
        iterator: Iterator[T] | None = None
        while True:
            self._outside = True
            try:
                iterator = iter(pieces) if iterator is None else iterator
                piece = next(iterator, _END)
            finally:
                self._outside = False
            if self._stopped.is_set():
                raise ClosedError
            if piece is _END:
                return
            yield piece  # type: ignore[misc]

    def _tokens(self) -> Iterator[int]:
        while (item := self._get()) is not _END:
            assert isinstance(item, int)
            yield item

    def _get(self) -> object:
        item = self._queue.get()
        if self._stopped.is_set():
            raise ClosedError
        if isinstance(item, BaseException):
            raise item
        return item

    def _run(self, utterances: Callable[[], Iterable[Iterable[int]]]) -> None:
        _here.ahead = self
        try:
            with lent_stream():
                try:
                    self._read(utterances)
                finally:
                    mx.synchronize()  # the language model's last step may still be under way
        except ClosedError:
            pass
        except BaseException as error:  # raised again by the caller's thread
            self._queue.put(error)
        finally:
            mx.clear_streams()

    def _read(self, utterances: Callable[[], Iterable[Iterable[int]]]) -> None:
        for tokens in utterances():
            self._permits.acquire()
            self._queue.put(_BEGIN)
            for token in tokens:
                if self._stopped.is_set():
                    return
                self._queue.put(token)
            self._queue.put(_END)
        self._queue.put(_END)


class _Here(threading.local):
    """What runs on this thread."""

    ahead: RunAhead | None = None


_here = _Here()
_running: weakref.WeakSet[RunAhead] = weakref.WeakSet()
_running_lock = threading.Lock()


def outside(pieces: Iterable[T]) -> Iterator[T]:
    """`pieces` that somebody else makes, who takes as long as they like; `RunAhead.outside` where one runs."""
    ahead = _here.ahead
    yield from pieces if ahead is None else ahead.outside(pieces)


def run_ahead(
    utterances: Callable[[], Iterable[Iterable[int]]], text_loop: asyncio.AbstractEventLoop | None = None
) -> Iterator[int]:
    """The tokens of all utterances, made on a thread of their own; whichever threads ask for them.

    Raises:
        RuntimeError: the thread that asks runs `text_loop`, which gives the text.
    """
    refuse_to_block(text_loop)
    ahead = RunAhead(utterances)
    try:
        for tokens in ahead.utterances():
            for token in tokens:
                yield token
                refuse_to_block(text_loop)
    finally:
        ahead.close()


@atexit.register
def _end_all() -> None:
    """A thread within MLX when Python ends would abort the process. One that waits for text does no harm."""
    if is_forked():
        return
    with _running_lock:
        running = [one for one in _running if one._thread.is_alive()]
    for one in running:
        one.close()
    end = time.monotonic() + PATIENCE
    for one in running:
        one.join(end)
