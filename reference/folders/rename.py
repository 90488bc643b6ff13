"""Renames that Python's `os` does not have: never onto something that exists, and two names that change places."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

#: Flags of renameat2 (Linux) and renamex_np (macOS).
_NO_REPLACE = 0x4 if sys.platform == "darwin" else 0x1
_EXCHANGE = 0x2

#: How a system or a file system says that it has no such rename.
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY}

_AT_FDCWD = -100


class UnsupportedError(OSError):
    """The file system cannot do this rename."""


def rename_new(source: Path, target: Path) -> None:
    """Rename a folder to a name that is free, in one step that never replaces anything.

    Where the system has no such step, a plain rename follows a look at `target`: it fails on files and on folders that
    hold something, so all that could be replaced is an empty folder that was made in between.

    Raises:
        FileExistsError: `target` exists; `source` keeps its name.
        OSError: as of `os.rename`.
    """
    try:
        _rename(source, target, _NO_REPLACE)
    except UnsupportedError:
        if os.path.lexists(target):
            raise _exists(target) from None
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise _exists(target) from error
            raise


def exchange(one: Path, other: Path) -> None:
    """Let two names that exist change places in one step.

    Raises:
        UnsupportedError: the system or the file system cannot; nothing is changed.
        OSError: one of them does not exist, or they must not be renamed.
    """
    _rename(one, other, _EXCHANGE)


def _exists(target: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def _rename(source: Path, target: Path, flag: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(source), os.fsencode(target)
    if hasattr(libc, "renameat2"):
        status = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(flag))
    elif hasattr(libc, "renamex_np"):
        status = libc.renamex_np(*names, ctypes.c_uint(flag))
    else:
        raise UnsupportedError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(target))
    if status != 0:
        number = ctypes.get_errno()
        kind = UnsupportedError if number in _UNSUPPORTED else OSError
        raise kind(number, os.strerror(number), str(target))
