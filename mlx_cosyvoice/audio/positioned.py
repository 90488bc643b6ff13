"""Writing at a place of a file: doing it again after a failure does no harm."""

from __future__ import annotations

import os
from pathlib import Path


def create(path: Path) -> int:
    """A descriptor of a new file, to read and write.

    Raises:
        FileExistsError: there is one of that name.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)


def write_at(descriptor: int, data: bytes | memoryview, position: int, path: Path) -> None:
    """Write all of `data`.

    Raises:
        OSError: (no space, say) with `path` as its file name; some of `data` may have been written.
    """
    view = memoryview(data)
    try:
        while view:
            count = os.pwrite(descriptor, view, position)
            view, position = view[count:], position + count
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
