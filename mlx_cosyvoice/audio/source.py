"""What is accepted as a recording: a path, bytes, a file object, or samples with their rate."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mlx_cosyvoice.audio.errors import AudioError

#: A path, the bytes of an audio file, a file that was opened in binary mode, or (samples, rate).
Source = Any

#: Samples of other types -> what is full scale.
_FULL_SCALE = {"int8": 2.0**7, "int16": 2.0**15, "int32": 2.0**31}
#: What a pipe may give; no recording of speech is longer.
LARGEST = 4 << 30

#: Bytes of a file that may be holes for the most part; the checksum of a larger one would take long.
_HOLES = 256 << 20

#: More channels than any recording has.
_MOST_CHANNELS = 64


def is_samples(source: Source) -> bool:
    """Whether `source` holds samples, not a file."""
    return isinstance(source, tuple | list) or (hasattr(source, "shape") and hasattr(source, "dtype"))


def name_of(source: Source) -> str:
    """What messages call a recording."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(os.fspath(source))
    if is_samples(source):
        return "the samples given"
    if isinstance(source, bytes | bytearray | memoryview):
        return "the bytes given"
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "the file object given"


def samples_of(source: Source, sample_rate: int | None) -> tuple[np.ndarray, int]:
    """Samples float32 [samples, channels] and their rate, of an array or of an (array, rate) pair.

    Args:
        source: [samples], [samples, channels] or [channels, samples] (the shorter axis holds the channels): floats in
            [-1, 1], or integers, whose type says what is full scale.
        sample_rate: in Hz, where `source` is an array alone.

    Raises:
        AudioError: there is no rate, or the array is none of samples.
    """
    name = name_of(source)
    if isinstance(source, tuple | list):
        source, sample_rate = _pair(source, sample_rate)
    if sample_rate is None:
        raise AudioError(f"{name}: an array needs its rate: give sample_rate=, in Hz")
    try:
        array = np.asarray(source)
        rate = int(sample_rate)
    except Exception as error:  # whatever other frameworks raise for arrays that NumPy cannot have
        raise AudioError(f"{name}: cannot be taken as an array with a rate ({error})") from error
    if array.ndim not in (1, 2) or (array.ndim == 2 and min(array.shape) > _MOST_CHANNELS):
        raise AudioError(f"{name}: must be [samples] or [samples, channels], not {list(array.shape)}")
    if array.ndim == 1:
        array = array[:, None]
    elif array.shape[0] < array.shape[1]:
        array = array.T
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128) / 128, rate
    if array.dtype.name in _FULL_SCALE:
        return (array / _FULL_SCALE[array.dtype.name]).astype(np.float32), rate
    if array.dtype.kind != "f":
        raise AudioError(f"{name}: must be floats in [-1, 1] or integers of 8, 16 or 32 bits, not {array.dtype}")
    with np.errstate(over="ignore"):
        return array.astype(np.float32), rate


def _pair(source: Any, sample_rate: int | None) -> tuple[Any, int | None]:
    """(array, rate), as soundfile and torchaudio give them, or (rate, array), as Gradio does; a list is an array."""
    if len(source) == 2:
        first, second = source
        if np.ndim(second) == 0 and np.ndim(first) > 0:
            return first, second
        if np.ndim(first) == 0 and np.ndim(second) > 0:
            return second, first
    return source, sample_rate


@contextlib.contextmanager
def open_source(source: Source) -> Iterator[tuple[BinaryIO, str]]:
    """A file with a descriptor that can seek, unbuffered, and a path that leads to it.

    What cannot seek (a pipe, bytes, an object of Python) is copied to a temporary file.

    Raises:
        AudioError: there is no such file, it cannot be read, or `source` is none of `Source`.
    """
    with contextlib.ExitStack() as stack:
        try:
            file, path = _file_of(source, stack)
        except OSError as error:
            raise AudioError(f"{name_of(source)}: cannot be read ({error.strerror or error})") from error
        yield file, path


def _file_of(source: Source, stack: contextlib.ExitStack) -> tuple[BinaryIO, str]:
    name = name_of(source)
    if isinstance(source, str | os.PathLike):
        file = stack.enter_context(_open(source, name))
        if file.seekable():
            _check_holes(file, name)
            return file, os.path.abspath(os.fsdecode(source))
        source = file
    elif isinstance(source, bytes | bytearray | memoryview):
        source = io.BytesIO(source)
    elif not hasattr(source, "read"):
        raise AudioError(
            f"{name}: must be a path, bytes, a file opened in binary mode, or samples with their rate, not "
            f"{type(source).__name__}"
        )
    copy = tempfile.NamedTemporaryFile(prefix="mlx-cosyvoice-", buffering=0)  # noqa: SIM115
    stack.enter_context(copy)
    _copy(source, copy, name)
    return copy, copy.name  # type: ignore[return-value]


def _check_holes(file: BinaryIO, name: str) -> None:
    """Refuse a large file of which the disk holds nearly nothing."""
    status = os.fstat(file.fileno())
    held = 512 * getattr(status, "st_blocks", 0)  # 0 also where the file system does not tell
    if status.st_size > _HOLES and 0 < held < status.st_size // 16:
        raise AudioError(
            f"{name}: {status.st_size >> 20} MB, of which the disk holds {held >> 20} MB; the others are holes without "
            "sound: copy it anew"
        )


def _open(path: str | os.PathLike[str], name: str) -> BinaryIO:
    try:
        if Path(path).is_dir():
            raise AudioError(f"{name}: is a folder, not an audio file")
        return Path(path).open("rb", buffering=0)  # type: ignore[return-value]
    except FileNotFoundError as error:
        raise AudioError(f"{name}: no such file") from error
    except ValueError as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(f"{name!r}: cannot be the name of a file ({error})") from error


def _copy(stream: Any, copy: Any, name: str) -> None:
    """All that `stream` still gives."""
    count = 0
    while (block := stream.read(1 << 20)) != b"":
        if not isinstance(block, bytes | bytearray | memoryview):
            raise AudioError(f"{name}: gives {type(block).__name__}, not bytes: open it in binary mode, and blocking")
        count += len(block)
        if count > LARGEST:
            raise AudioError(f"{name}: does not end within {LARGEST >> 30} GB")
        copy.write(block)
    if not count:
        raise AudioError(f"{name}: holds no bytes from its present position on")
