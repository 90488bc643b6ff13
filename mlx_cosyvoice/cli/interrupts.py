"""Ends that are asked for: Ctrl-C, and SIGTERM taken as Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

#: Exit status of an interrupted command, as shells have it.
INTERRUPTED = 130


@contextlib.contextmanager
def sigterm_is_ctrl_c() -> Iterator[None]:
    """Within the block SIGTERM raises KeyboardInterrupt. Does nothing outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
