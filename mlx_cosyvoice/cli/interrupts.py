"""Ends that are asked for: Ctrl-C, and SIGTERM taken alike."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

#: Exit status of an interrupted command, as shells have it.
INTERRUPTED = 130

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: What stands in the pipe beside the numbers of signals.
_STOP, _OVER = 254, 255

#: How long the end of the process may take once it shall come at once, in seconds.
_PATIENCE = 2.0


class Interrupts:
    """Takes the signals within a `with` block of the main thread; does nothing in other threads.

    The first raises KeyboardInterrupt, as in any Python program, until `hold` is called; then it asks for the end, and
    no exception falls into anything. The second ends the process at once. Python calls handlers in the main thread,
    which may be within a computation of seconds, so another thread learns of signals by a pipe.

    A signal that is ignored, as Ctrl-C is in a background job of a script, stays so.

    Attributes:
        asked: whether a signal came.
    """

    def __init__(self) -> None:
        self.asked = False
        self._held = False
        self._over = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._at_once: Callable[[], object] = self._over.wait
        self._before: dict[int, Any] = {}

    def hold(self, stop: Callable[[], object] = lambda: None) -> None:
        """Raise no exception from here on.

        Args:
            stop: called after the first signal, in another thread; makes the main thread end soon.

        Raises:
            KeyboardInterrupt: the first signal came before.
        """
        if not self._held:
            self._stop, self._held = stop, True
            if self.asked:
                raise KeyboardInterrupt

    def at_once(self, end: Callable[[], object]) -> None:
        """Let a second signal call `end` in another thread, and then end the process.

        Otherwise it gives the main thread a moment more to end by itself.
        """
        self._at_once = end

    def __enter__(self) -> Interrupts:
        global _current
        _current = self
        if threading.current_thread() is not threading.main_thread():
            return self
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._thread = threading.Thread(target=self._watch, name="mlx-cosyvoice signals", daemon=True)
        self._thread.start()
        self._wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in _SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        global _current
        _current = None
        self._held = True
        self._over.set()
        if threading.current_thread() is not threading.main_thread():
            return
        os.write(self._pipe[1], bytes([_OVER]))
        self._thread.join()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        for descriptor in self._pipe:
            os.close(descriptor)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.asked = not self.asked, True
        if self._held:
            with contextlib.suppress(BlockingIOError):
                os.write(self._pipe[1], bytes([_STOP]))
        elif first:
            raise KeyboardInterrupt

    def _watch(self) -> None:
        count = 0
        while True:
            for byte in os.read(self._pipe[0], 64):
                if byte == _OVER:
                    return
                if byte == _STOP:
                    self._stop()
                elif byte in _SIGNALS:
                    count += 1
                    if count == 2:
                        self._end()

    def _end(self) -> None:
        last = threading.Thread(target=self._at_once, name="mlx-cosyvoice end", daemon=True)
        last.start()
        last.join(_PATIENCE)
        if not self._over.is_set():
            for file in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    file.flush()
            os._exit(INTERRUPTED)


_current: Interrupts | None = None


def hold(stop: Callable[[], object] = lambda: None) -> None:
    """`Interrupts.hold` of the command that is being run, if one is."""
    if _current is not None:
        _current.hold(stop)


def at_once(end: Callable[[], object]) -> None:
    """`Interrupts.at_once` of the command that is being run, if one is."""
    if _current is not None:
        _current.at_once(end)


def asked() -> bool:
    """Whether a signal came to the command that is being run."""
    return _current is not None and _current.asked
