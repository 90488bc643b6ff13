"""Samples to who reads them now: standard output, a pipe, a device."""

from __future__ import annotations

import contextlib
import io
import os
import select
import time
from typing import Any, BinaryIO

import numpy as np

from mlx_cosyvoice.audio.pcm import encode_pcm

#: Bytes at a time: a pipe that has room accepts as many at once.
_PIECE = select.PIPE_BUF

#: How often a wait for the reader looks whether it shall end, in seconds.
_LOOK_AGAIN = 0.1

#: How long a reader that reads nothing is waited for once there is a hurry, in seconds.
_PATIENCE = 0.5


class PipeFile:
    """Mono samples without header, 16-bit little-endian integers, each chunk written at once.

    Args:
        file: written to.
        keep_open: after `close`, as standard output must be.
    """

    always_whole = True

    def __init__(self, file: BinaryIO, *, keep_open: bool = False) -> None:
        self._file, self._keep_open = file, keep_open
        self._descriptor = _descriptor(file)
        self._data = 0  # bytes that were taken
        self._deadline: float | None = None

    @property
    def samples(self) -> int:
        """How many the reader, or the pipe, has taken."""
        return self._data // 2

    def write(self, samples: np.ndarray) -> None:
        """Append float32 [samples]; in a hurry the end of it may be left out.

        Raises:
            BrokenPipeError: who read has gone away.
            OSError: no space, say.
        """
        view = memoryview(encode_pcm(samples, "pcm16"))
        if self._descriptor is None:
            self._file.write(view)
            self._file.flush()
            self._data += len(view)
            return
        begin = self._data
        while (rest := view[self._data - begin :]) and self._has_room(self._descriptor):
            with contextlib.suppress(BlockingIOError):  # others have set it so, and were faster
                self._data += os.write(self._descriptor, rest[:_PIECE])

    def hurry(self) -> None:
        """Wait no longer for a reader that reads nothing. May be called in any thread."""
        if self._deadline is None:
            self._deadline = time.monotonic() + _PATIENCE

    def close(self) -> None:
        if not self._keep_open:
            self._file.close()

    def _has_room(self, descriptor: int) -> bool:
        """Wait until the reader reads something; False if that shall not be waited for."""
        while not select.select([], [descriptor], [], _LOOK_AGAIN)[1]:
            if self._deadline is not None and time.monotonic() > self._deadline:
                return False
        return True


def _descriptor(file: Any) -> int | None:
    """What the system knows the file by; None for one in memory."""
    try:
        file.flush()
        return int(file.fileno())
    except (AttributeError, io.UnsupportedOperation):
        return None
