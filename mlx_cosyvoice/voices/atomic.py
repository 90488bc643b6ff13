"""Writes a file whole or not at all, and never over another one unasked."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_file(path: Path, content: bytes, *, force: bool) -> None:
    """Write `content` to a hidden file beside `path`, then give it the name `path`.

    Two processes that write the same new `path` at the same time do not overwrite each other: one of them fails.

    Raises:
        FileExistsError: `path` exists, and `force` is not given.
        FileNotFoundError: the folder of `path` does not exist.
        IsADirectoryError: `path` is a folder.
        OSError: the file cannot be written (no space, no permission); nothing is left behind.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder, give the name of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    if not force and os.path.lexists(path):
        raise _exists(path)
    # The name is short, so that one which just fits the file system gets no longer by it.
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if force:
            part.replace(path)
        else:
            _rename_to_new(part, path)
    finally:
        part.unlink(missing_ok=True)


def _rename_to_new(part: Path, path: Path) -> None:
    """Rename, which would replace a file that another process has just written, but fail instead."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:
        # A file system without hard links, a memory stick say: claim the name first.
        try:
            path.open("xb").close()
        except FileExistsError:
            raise _exists(path) from None
        part.replace(path)


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(f"{path} exists; give force=True (--force) to replace it")
