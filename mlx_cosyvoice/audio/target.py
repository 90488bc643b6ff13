"""Where audio may be written to: found out before any work is done."""

from __future__ import annotations

import os
from pathlib import Path


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
            raise FileExistsError(f"{path} exists; give force=True (--force) to replace it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path}: no permission to write into the folder {path.parent}")
    return True
