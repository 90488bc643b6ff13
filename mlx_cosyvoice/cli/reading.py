"""The text to speak: an argument, a file, or standard input as it comes."""

from __future__ import annotations

import io
import os
import select
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlx_cosyvoice.cli.encodings import StreamDecoder, decode_file

#: How often a wait for text looks whether it was ended, in seconds.
_LOOK_AGAIN = 0.1


def read_text_file(path: str, encoding: str | None = None) -> str:
    """The text of a file; see `decoding.decode_file`.

    Raises:
        ValueError: it cannot be decoded.
        OSError: it cannot be read.
    """
    return decode_file(Path(path).read_bytes(), path, encoding)


class StandardInput(Iterable[str]):
    """What arrives on standard input, each piece as soon as it is there. `close` ends the wait for more.

    Args:
        encoding: as for `decoding.StreamDecoder`.

    Raises:
        ValueError: it is closed; or (while iterating) it cannot be decoded, or ends without anything to say.
    """

    def __init__(self, encoding: str | None = None) -> None:
        if sys.stdin is None:
            raise ValueError("standard input is closed: pipe the text into it")
        self._closed = threading.Event()
        self._encoding = encoding

    def close(self) -> None:
        self._closed.set()

    def __iter__(self) -> Iterator[str]:
        decoder = StreamDecoder("standard input", self._encoding)
        spoken = False
        while not self._closed.is_set():
            data = self._read()
            piece = decoder.decode(data, final=not data)
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
