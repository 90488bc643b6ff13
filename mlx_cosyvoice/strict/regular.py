"""Opens files, and nothing that only looks like one: a named pipe or a device would block, or never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from mlx_cosyvoice.strict.errors import BadFileError

# Opening a pipe that nobody writes to would wait forever. Windows has neither the flag nor such pipes among files.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read its bytes; a link to one is followed.

    Raises:
        BadFileError: a folder, named pipe, device or socket, or a path that no file can have.
        FileNotFoundError: no such file.
        OSError: it must not or cannot be read, or its links go in a circle.
    """
    path = Path(path)
    if path.is_dir():
        raise BadFileError("is not a file: it is a folder")
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except ValueError as error:  # a null character
        raise BadFileError(f"is not a path ({error})") from error
    except OSError as error:
        if path.exists() and not path.is_file():  # a socket cannot even be opened
            raise BadFileError("is not a file") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadFileError("is not a file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """The content of a file.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        BadFileError: it has more, or is not a file.
        OSError: as `open_regular`.
    """
    with open_regular(path) as file:
        # The size is asked for first, but the file may grow meanwhile.
        content = file.read(most + 1) if os.fstat(file.fileno()).st_size <= most else None
    if content is None or len(content) > most:
        raise BadFileError(f"is larger than {most} bytes, the most that such a file may have")
    return content
