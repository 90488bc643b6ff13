"""The claim on a folder that is being written: a hidden folder beside it, which one process at a time can own."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from contextlib import suppress
from pathlib import Path

#: The file in a claim that distinguishes it from folders of others; it is locked as long as its owner runs.
MARKER = "claim"
_TEXT = (
    "mlx-cosyvoice is writing a folder, or was stopped while it did; the next run with the same output cleans up.\n"
    "If `old` lies here, it is what was in the place of the output.\n"
)
_MAGIC = _TEXT.encode()

#: What a name may have at most on common file systems, in bytes.
_MAX_NAME = 255

#: How file systems say that they have no locks.
_NO_LOCKS = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL}


def claim_path(target: Path) -> Path:
    """The claim's folder for an output. Where a file system takes two names for one, it does so with these too."""
    room = _MAX_NAME - len(".") - len(".part")
    name = os.fsencode(target.name)[:room].decode(errors="ignore")
    return target.parent / f".{name}.part"


class Claim:
    """A claim that is held until `release`, or until the process ends in whatever way.

    Attributes:
        path: the hidden folder. What is in it besides the marker is the holder's.
        left: the name of the output for which an earlier run, now dead, held the claim; None if this one is fresh.
            What that run had in the folder is still there.
    """

    def __init__(self, path: Path, file: int, left: str | None) -> None:
        self.path, self.left = path, left
        self._file = file

    @classmethod
    def take(cls, target: Path) -> Claim:
        """Claim the output `target`, whose parent exists.

        Raises:
            FileExistsError: another process holds the claim, or the claim's name is taken by something of others.
            OSError: the parent must not be written to.
        """
        path = claim_path(target)
        while True:
            _make(path, target)
            _check_ours(path)
            try:
                file, fresh = _open(path / MARKER)
            except FileNotFoundError:
                continue  # its holder has just finished
            try:
                _lock(file, fresh, path, target)
                if not _is_at(file, path / MARKER):
                    os.close(file)
                    continue
                left = _name_in(os.pread(file, 1 << 16, 0))
                return cls(path, file, left)
            except BaseException:
                os.close(file)
                raise

    def name(self, target: Path) -> None:
        """Write down which output it is for."""
        content = _MAGIC + json.dumps({"output": target.name, "pid": os.getpid()}).encode() + b"\n"
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))

    def release(self) -> None:
        """Give it back. The folder is removed unless something lies in it that its holder could not remove."""
        try:
            if os.listdir(self.path) == [MARKER]:
                (self.path / MARKER).unlink()
                with suppress(OSError):  # another process may have just begun to claim it
                    self.path.rmdir()
        finally:
            os.close(self._file)


def _make(path: Path, target: Path) -> None:
    try:
        path.mkdir()
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise PermissionError(
            f"{target}: the folder {target.parent} must not be written to: {error.strerror}"
        ) from error


def _check_ours(path: Path) -> None:
    """Refuse a folder that somebody else made. An empty one is nobody's loss."""
    try:
        names = os.listdir(path) if stat.S_ISDIR(path.lstat().st_mode) else ["a file"]
        if not names:
            return
        content = (path / MARKER).read_bytes() if MARKER in names else None
    except FileNotFoundError:
        return  # it has just been released
    except IsADirectoryError:
        content = None
    # The owner may have been killed before it wrote the whole marker.
    begun = content is not None and names == [MARKER] and _MAGIC.startswith(content)
    if content is None or not (begun or content.startswith(_MAGIC)):
        raise FileExistsError(
            f"{path} is in the way, and not of this command: move it, or choose another output folder"
        )


def _open(marker: Path) -> tuple[int, bool]:
    """The marker opened for writing, and whether it was made just now."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(marker, flags | os.O_EXCL, 0o644), True
    except FileExistsError:
        return os.open(marker, flags, 0o644), False


def _lock(file: int, fresh: bool, path: Path, target: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = _read(os.pread(file, 1 << 16, 0)).get("pid")
        process = f"another process ({pid})" if pid else "another process"
        raise FileExistsError(
            f"{target} is being written by {process}: wait for it, or choose another folder"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if not fresh:  # nothing says whether its owner still runs
            raise FileExistsError(
                f"{target} is being written by another process, or one that was killed: if none runs, look into {path} "
                "and remove it yourself"
            ) from error


def _is_at(file: int, path: Path) -> bool:
    """Whether the open file still has that name: its holder may have removed it before the lock was had."""
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False


def _read(content: bytes) -> dict[str, object]:
    try:
        read = json.loads(content.removeprefix(_MAGIC))
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _name_in(content: bytes) -> str | None:
    name = _read(content).get("output")
    return name if isinstance(name, str) and name == os.path.basename(name) and name not in ("", ".", "..") else None
