"""Writes a folder whole or not at all, whatever stops it and whatever others do at the same place meanwhile.

What is under way lies in the claim's folder (see `reference.folders.claim`), under names that say how far it got:

- `new`: under way;
- `swap`: complete, and about to change places with what is at the output, or just after that;
- `old`: what was at the output. With `new` beside it, it has to go back; alone, it has been replaced.

So a run that finds the claim of a dead one knows what to put back and what to remove.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reference.folders.claim import Claim, claim_path
from reference.folders.rename import UnsupportedError, exchange, rename_new

Replaceable = Callable[[Path], bool]


def identity(out: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Distinguishes a folder from its successor at the same place; None where there is none."""
    try:
        found = os.stat(out)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def new_folder(out: str | os.PathLike[str], *, force: bool, replaceable: Replaceable) -> Iterator[Path]:
    """Yield an empty folder beside `out`, which becomes `out` when the block ends well.

    When the block fails or is interrupted, it is removed and `out` is as it was. When the process is killed, `out` is
    as it was or complete, and the next call for the same `out` cleans up.

    Args:
        out: missing parents are made.
        force: replace what is there, once its successor is complete.
        replaceable: whether a folder is of the kind that is written here; only such a one may be replaced, or an empty
            one. It keeps a mistyped path with `force` from deleting somebody's files.

    Raises:
        FileExistsError: `out` exists, from the beginning or at the end, and `force` is not given or it is not
            `replaceable`; or another process is writing it.
        NotADirectoryError: a parent of `out` is a file.
        OSError: the parent of `out` must not be written to, or `out` is a mount point.
    """
    check_free(out, force=force, replaceable=replaceable)
    target = Path(out).resolve()
    made = _make_parents(target.parent)
    try:
        claim = Claim.take(target)
        try:
            _settle_earlier(claim, target, replaceable)
            claim.name(target)
            _check(out, target, force=force, replaceable=replaceable)
            new = claim.path / "new"
            new.mkdir()
            yield new
            _sync(new)
            _place(new, target, out, force=force, replaceable=replaceable)
        finally:
            try:
                _Leftovers(claim, target, replaceable).settle(strict=False)
            finally:
                claim.release()
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def check_free(out: str | os.PathLike[str], *, force: bool, replaceable: Replaceable) -> None:
    """The checks of `new_folder` on `out`, for those who want to know before they begin.

    What an earlier run left is put back or removed before, as it may decide whether `out` exists.
    """
    target = Path(out).resolve()
    if os.path.lexists(claim_path(target)):
        claim = Claim.take(target)
        try:
            _settle_earlier(claim, target, replaceable)
        finally:
            claim.release()
    _check(out, target, force=force, replaceable=replaceable)


def _settle_earlier(claim: Claim, target: Path, replaceable: Replaceable) -> None:
    _Leftovers(claim, target.parent / (claim.left or target.name), replaceable).settle()


def _check(out: str | os.PathLike[str], target: Path, *, force: bool, replaceable: Replaceable) -> None:
    if not os.path.lexists(target):
        return
    if not force:
        raise FileExistsError(f"{out} exists: choose another folder, or give --force (force=True) to replace it")
    if not _may_go(target, replaceable):
        raise FileExistsError(
            f"{out} exists and was not written by this command, so --force does not replace it: "
            "choose another folder, or remove it yourself"
        )
    if target.is_mount():
        raise FileExistsError(f"{out} is a mount point, which cannot be replaced: give a folder in it")


def _may_go(folder: Path, replaceable: Replaceable) -> bool:
    return folder.is_dir() and not folder.is_symlink() and (not any(folder.iterdir()) or replaceable(folder))


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


def _sync(folder: Path) -> None:
    """Have the system write all files to the disk, so that no power failure leaves a complete name on empty files."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)


def _place(new: Path, target: Path, out: str | os.PathLike[str], *, force: bool, replaceable: Replaceable) -> None:
    """Give a complete folder its name. What stands there is looked at again, before and after it is moved away."""
    swap, old = new.with_name("swap"), new.with_name("old")
    try:
        if not force or not os.path.lexists(target):
            rename_new(new, target)
            return
        if not _may_go(target, replaceable):
            raise FileExistsError
        new.rename(swap)
        try:
            exchange(swap, target)
        except FileNotFoundError:  # somebody has just removed it
            swap.rename(new)
            rename_new(new, target)
            return
        except UnsupportedError:
            swap.rename(new)
            rename_new(target, old)
            if not _may_go(old, replaceable):
                raise FileExistsError from None
            rename_new(new, target)
            return
        if not _may_go(swap, replaceable):
            raise FileExistsError
        swap.rename(old)
    except FileExistsError as error:
        raise FileExistsError(
            f"{out} was made by somebody else in the meantime, and is left as it is: "
            "choose another folder, or remove it yourself"
        ) from error


class _Leftovers:
    """What lies in a claim, put back or removed. Each step can be the last one before a kill."""

    def __init__(self, claim: Claim, target: Path, replaceable: Replaceable) -> None:
        self.target, self.replaceable = target, replaceable
        self.new, self.swap, self.old = (claim.path / name for name in ("new", "swap", "old"))

    def settle(self, *, strict: bool = True) -> None:
        """Leave nothing in the claim; unless `strict`, what cannot be removed is left to the next run.

        Raises:
            FileExistsError: what belongs at the output cannot go back, because something else is there.
            OSError: a folder cannot be moved or removed.
        """
        if os.path.lexists(self.swap):
            self._settle_swap()
        if os.path.lexists(self.old):
            if os.path.lexists(self.new):
                self._put_back(self.old)
            else:
                shutil.rmtree(self.old, ignore_errors=not strict)
        if os.path.lexists(self.new):
            shutil.rmtree(self.new, ignore_errors=not strict)

    def _settle_swap(self) -> None:
        """It is the new folder or what was at the output, which may be anybody's by an ill chance."""
        if not os.path.lexists(self.target):
            rename_new(self.swap, self.target)
        elif _may_go(self.swap, self.replaceable):
            self.swap.rename(self.old)
        elif _may_go(self.target, self.replaceable):
            exchange(self.swap, self.target)
            self.swap.rename(self.old)
        else:
            self._put_back(self.swap)

    def _put_back(self, folder: Path) -> None:
        try:
            rename_new(folder, self.target)
        except FileExistsError as error:
            raise FileExistsError(
                f"{folder} is what was at {self.target} when a run was stopped, but something else is there now: "
                "move one of them away"
            ) from error
