"""The text to speak: an argument, a file, or standard input as it comes."""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

#: How often a wait for text looks whether it was ended, in seconds.
_LOOK_AGAIN = 0.1


def read_text_file(path: str) -> str:
    """The text of a UTF-8 file.

    Raises:
        ValueError: it is not UTF-8.
        OSError: it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error


class StandardInput(Iterable[str]):
    """What arrives on standard input, each piece as soon as it is there. `close` ends the wait for more.

    Raises:
        ValueError: (while iterating) it is not UTF-8, or ends without anything to say.
    """

    def __init__(self) -> None:
        self._closed = threading.Event()

    def close(self) -> None:
        self._closed.set()

    def __iter__(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        spoken = False
        while not self._closed.is_set():
            data = self._read()
            try:
                piece = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                raise ValueError(f"standard input is not UTF-8 text ({error.reason})") from error
            spoken = spoken or bool(piece.strip())
            if piece:
                yield piece
            if not data:
                break
        if not spoken:
            raise ValueError("nothing to say: standard input holds no text")

    def _read(self) -> bytes:
        """At least a byte; none at the end. Not through Python's buffer: its lock must be free when Python ends."""
        try:
            descriptor = sys.stdin.fileno()
        except (io.UnsupportedOperation, ValueError):
            return sys.stdin.buffer.read(65536)
        while not select.select([descriptor], [], [], _LOOK_AGAIN)[0]:
            if self._closed.is_set():
                return b""
        return os.read(descriptor, 65536)
