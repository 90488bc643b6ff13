"""Paths that files are written to: refused before any work is done, and never taken from another file unasked."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from mlx_cosyvoice.uninterrupted import uninterrupted


def check_target(path: str | os.PathLike[str], *, force: bool = False) -> bool:
    """Refuse a path that cannot or must not be written.

    Args:
        path: of a file, or of a device or named pipe.
        force: a file that exists may be replaced.

    Returns:
        Whether it is a file (or none yet), not a device or pipe.

    Raises:
        FileExistsError: the file exists and `force` is not given.
        FileNotFoundError: the folder of `path` does not exist.
        IsADirectoryError: `path` is a folder.
        PermissionError: its folder must not be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file in it")
    if os.path.lexists(path):
        if path.exists() and not path.is_file():
            return False
        if not force:
            raise _exists(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path}: no permission to write into the folder {path.parent}")
    return True


def give_name(part: Path, path: Path, *, force: bool = False) -> None:
    """Rename a finished file in the same folder.

    Two processes that give the same new name at the same time do not overwrite each other: one of them fails.

    Args:
        part: the file; it keeps its name if this fails.
        path: its new name.
        force: replace a file that has that name.

    Raises:
        FileExistsError: another file has that name and `force` is not given.
        OSError: the file cannot be renamed.
    """
    if force:
        part.replace(path)
        return
    # Renaming would replace a file that another process has just written.
    try:
        os.link(part, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:
        _claim(part, path)
    else:
        part.unlink()


def _claim(part: Path, path: Path) -> None:
    """As `give_name`, on a file system without hard links, a memory stick say: an empty file takes the name first."""
    claimed = False
    try:
        path.open("xb").close()
        claimed = True
        part.replace(path)
    except BaseException as error:
        if claimed:
            path.unlink(missing_ok=True)
        elif isinstance(error, FileExistsError):
            raise _exists(path) from None
        raise


def write_file(path: Path, content: bytes, *, force: bool) -> None:
    """Write `content` to a hidden file beside `path`, then give it the name `path`: whole or not at all.

    An exception that a signal raises falls before or after all of this.

    Raises:
        FileExistsError: `path` exists and `force` is not given, or is a device or pipe.
        FileNotFoundError: the folder of `path` does not exist.
        IsADirectoryError: `path` is a folder.
        OSError: the file cannot be written (no space, no permission); nothing is left behind.
    """
    uninterrupted(lambda: _write_file(path, content, force))


def _write_file(path: Path, content: bytes, force: bool) -> None:
    if not check_target(path, force=force):
        raise FileExistsError(f"{path} is a device or pipe; give the name of a file")
    # The name is short, so that one which just fits the file system gets no longer by it.
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        give_name(part, path, force=force)
    finally:
        part.unlink(missing_ok=True)


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(f"{path} exists; give force=True (--force) to replace it")
