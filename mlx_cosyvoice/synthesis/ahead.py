"""A thread that runs the language model while the caller turns earlier tokens into audio."""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator

import mlx.core as mx

_BEGIN, _END = object(), object()


class ClosedError(Exception):
    """Nothing more comes, because `RunAhead.close` was called."""


#: How long the end of the process waits for threads at most, in seconds.
_PATIENCE = 5.0


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
        self._queue: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, args=(utterances,), name="mlx-cosyvoice language model", daemon=True
        )
        _RUNNING.add(self)
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

    def close(self) -> None:
        """End the thread after its present token, and a wait for tokens at once. May be called in any thread.

        A thread that waits for text is left to wait: it is a daemon.
        """
        self._stopped.set()
        self._permits.release()
        self._queue.put(_END)

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
        try:
            for tokens in utterances():
                self._permits.acquire()
                self._queue.put(_BEGIN)
                for token in tokens:
                    if self._stopped.is_set():
                        return
                    self._queue.put(token)
                self._queue.put(_END)
            self._queue.put(_END)
        except BaseException as error:  # raised again by the caller's thread
            self._queue.put(error)
        finally:
            mx.synchronize()  # the language model's last step may still be under way
            mx.clear_streams()


_RUNNING: weakref.WeakSet[RunAhead] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """A thread within MLX when Python ends would abort the process. One that waits for text does no harm."""
    end = time.monotonic() + _PATIENCE
    running = [one for one in _RUNNING if one._thread.is_alive()]
    for one in running:
        one.close()
    for one in running:
        one._thread.join(max(0.0, end - time.monotonic()))
