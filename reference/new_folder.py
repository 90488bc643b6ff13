"""Writes a folder whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def new_folder(out: str | os.PathLike[str], *, force: bool, replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield an empty folder beside `out`, which becomes `out` when the block ends well.

    When the block fails or is interrupted, it is removed and `out` is as it was.

    Args:
        out: missing parents are made.
        force: replace what is there, once its successor is complete.
        replaceable: whether an existing folder is of the kind that may be replaced. An empty one always is. It keeps a
            mistyped path with `force` from deleting somebody's files.

    Raises:
        FileExistsError: `out` exists and `force` is not given, or it is not `replaceable`.
        NotADirectoryError: a parent of `out` is a file.
    """
    check_free(out, force=force, replaceable=replaceable)
    target = Path(out).resolve()
    made = _make_parents(target.parent)
    part = target.parent / f".{target.name}.{secrets.token_hex(4)}.part"
    try:
        part.mkdir()
        yield part
        _replace(target, part)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def check_free(out: str | os.PathLike[str], *, force: bool, replaceable: Callable[[Path], bool]) -> None:
    """The checks of `new_folder` on `out`, for those who want to know before they begin."""
    target = Path(out).resolve()
    if not target.exists():
        return
    if not force:
        raise FileExistsError(f"{out} exists: choose another folder, or give --force (force=True) to replace it")
    if not target.is_dir() or (any(target.iterdir()) and not replaceable(target)):
        raise FileExistsError(
            f"{out} exists and was not written by this command, so --force does not replace it: "
            "choose another folder, or remove it yourself"
        )


def _make_parents(folder: Path) -> list[Path]:
    """Make a folder and its parents; returns those that were missing, innermost first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, so no folder can be made in it")
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
    return missing


def _replace(target: Path, part: Path) -> None:
    """Put `part` in the place of `target`, which may exist."""
    old = target.parent / f".{target.name}.{secrets.token_hex(4)}.old"
    had_old = target.exists()
    if had_old:
        target.rename(old)
    try:
        part.rename(target)
    except BaseException:
        if had_old:
            old.rename(target)
        raise
    if had_old:
        shutil.rmtree(old, ignore_errors=True)
