"""Where in a file its recordings lie, as opposed to where the file says that they lie."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Part:
    """One recording of a file: bytes that a decoder reads to their end.

    Attributes:
        pieces: what it consists of, in order: bytes, or (start, end) of the file.
        samples: of a channel, that a decoder should find, where the file tells or they were counted.
    """

    pieces: tuple[bytes | tuple[int, int], ...]
    samples: int | None = None

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in self.pieces)


@dataclass(frozen=True)
class Layout:
    """Of a whole file.

    Attributes:
        parts: its recordings, in order; more than one where files were joined.
        remarks: what its user should know, such as a header that was never finished.
    """

    parts: tuple[Part, ...]
    remarks: tuple[str, ...] = ()


class FileView:
    """Random access to the bytes of a file whose length is known.

    Attributes:
        size: in bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self._start, self._block = 0, b""

    def at(self, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset` on; fewer at the end of the file."""
        start = self._load(offset, count)
        return self._block[start : start + count]

    def find(self, wanted: bytes, start: int, end: int) -> int:
        """The first place of `wanted` that begins in start..end, or -1."""
        while start < end:
            count = min(_BLOCK, end - start) + len(wanted) - 1
            first = self._load(start, count)
            place = self._block.find(wanted, first, first + count)
            if place >= 0:
                return self._start + place
            start += _BLOCK
        return -1

    def _load(self, offset: int, count: int) -> int:
        """Make sure of these bytes in the block; where in it they begin."""
        if not self._start <= offset <= offset + count <= self._start + len(self._block):
            self._file.seek(offset)
            self._start, self._block = offset, self._file.read(max(count, 1 << 16))
        return offset - self._start


@contextlib.contextmanager
def opened(part: Part, view: FileView, file: BinaryIO, limit: int) -> Iterator[tuple[BinaryIO, bool]]:
    """`part` as a file with a descriptor: `file` itself where the part is the whole of it, else a copy.

    Args:
        part: of `file`.
        view: of `file`.
        file: unbuffered.
        limit: bytes to copy at most.

    Yields:
        The file, and whether it is the whole part.
    """
    if part.pieces == ((0, view.size),):
        file.seek(0)
        yield file, True
        return
    with tempfile.TemporaryFile(buffering=0) as copy:
        count = 0
        for block in _blocks(part, file):
            if count + len(block) > limit:
                break
            count += len(block)
            copy.write(block)
        copy.seek(0)
        yield copy, count == part.size  # type: ignore[misc]


def _blocks(part: Part, file: BinaryIO) -> Iterator[bytes]:
    for piece in part.pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        start, end = piece
        file.seek(start)
        while start < end and (block := file.read(min(_BLOCK, end - start))):
            start += len(block)
            yield block
