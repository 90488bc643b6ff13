"""The text to speak: an argument, a file, or standard input as it comes."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path


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


def standard_input() -> Iterator[str]:
    """What arrives on standard input, each piece as soon as it is there.

    Raises:
        ValueError: (while iterating) it is not UTF-8, or ends without anything to say.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    spoken = False
    while True:
        data = _read()
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


def _read() -> bytes:
    """At least a byte; none at the end. Not through Python's buffer, which a thread must not hold when Python ends."""
    try:
        descriptor = sys.stdin.fileno()
    except (io.UnsupportedOperation, ValueError):
        return sys.stdin.buffer.read(65536)
    return os.read(descriptor, 65536)
