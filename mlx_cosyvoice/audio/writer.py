"""Audio files that are written chunk by chunk while the audio is made."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from mlx_cosyvoice.audio.encoded_file import EncodedFile
from mlx_cosyvoice.audio.errors import AudioError
from mlx_cosyvoice.audio.formats import AudioFormat, find_format
from mlx_cosyvoice.audio.pipe_file import PipeFile
from mlx_cosyvoice.audio.positioned import create
from mlx_cosyvoice.audio.raw_file import RawFile
from mlx_cosyvoice.audio.wav_file import WavFile
from mlx_cosyvoice.files import check_target, give_name
from mlx_cosyvoice.uninterrupted import uninterrupted


class _File(Protocol):
    always_whole: bool

    @property
    def samples(self) -> int: ...

    def write(self, samples: np.ndarray) -> None: ...

    def close(self) -> None: ...

    def hurry(self) -> None: ...


def open_audio(
    path: str | os.PathLike[str],
    sample_rate: int,
    *,
    format: str | None = None,
    subtype: str | None = None,
    force: bool = False,
) -> AudioWriter:
    """Begin a mono audio file; use the result in a `with` block and `write` chunks to it.

    Until the block ends the audio stands in `NAME.partial.EXTENSION` beside `path` (`NAME.partial-2.EXTENSION` if
    that exists). A wav file can be played at every moment, also when the process is killed. At the end it is renamed
    to `path`, which therefore never holds half a file.

    Args:
        path: of the file; "-" is standard output, as raw samples. To a device or a named pipe only raw samples can
            be written; that is the default there.
        sample_rate: in Hz.
        format: "wav", "flac", "ogg", "opus", "mp3" or "raw" (16-bit little-endian); by default what the extension of
            `path` means.
        subtype: wav: "pcm16" (default), "pcm24", "float"; flac: "pcm16", "pcm24"; ogg: "vorbis", "opus".
        force: replace a file that exists.

    Raises:
        AudioError: unknown format or subtype, or one that cannot have this sample rate.
        FileExistsError: the file exists and `force` is not given.
        FileNotFoundError: the folder of `path` does not exist.
        OSError: the file cannot be created.
    """
    if sample_rate <= 0:
        raise AudioError(f"sample_rate must be positive, not {sample_rate}")
    is_file = check_audio_target(path, format=format, subtype=subtype, force=force)
    if os.fspath(path) == "-":
        stdout = PipeFile(sys.stdout.buffer, keep_open=True)
        return AudioWriter(stdout, Path("-"), None, sample_rate, clips=True, force=force)
    path = Path(path)
    if not is_file:
        device: BinaryIO = path.open("wb", buffering=0)  # type: ignore[assignment]
        return AudioWriter(PipeFile(device), path, None, sample_rate, clips=True, force=force)
    chosen, coding = find_format(path, format, subtype)
    made: list[AudioWriter] = []
    try:
        uninterrupted(lambda: made.append(_create(path, sample_rate, chosen, coding, force)))
        return made[0]
    except BaseException:
        for writer in made:
            writer.abandon()
        raise


def check_audio_target(
    path: str | os.PathLike[str], *, format: str | None = None, subtype: str | None = None, force: bool = False
) -> bool:
    """What `open_audio` checks before it creates a file, with the same arguments and exceptions.

    Returns:
        Whether `path` is that of a file, not standard output, a device or a pipe.
    """
    if os.fspath(path) == "-":
        if find_format(path, format, subtype)[0].name != "raw":
            raise AudioError(f"only raw audio can be written to standard output, not {format}")
        if sys.stdout.isatty():
            raise AudioError("standard output is a terminal; pipe it, for example: | aplay -f S16_LE -r 24000")
        return False
    is_file = check_target(path, force=force)
    if is_file:
        find_format(path, format, subtype)
    elif find_format(path, format or "raw", subtype)[0].name != "raw":
        raise AudioError(f"{path}: only raw audio can be written to a device or pipe, not {format}")
    return is_file


def _create(path: Path, sample_rate: int, format: AudioFormat, coding: str, force: bool) -> AudioWriter:
    """A file beside `path` under a name that says what it is and that nothing has."""
    for number in itertools.count(1):
        middle = ".partial" if number == 1 else f".partial-{number}"
        partial = path.with_name(path.stem + middle + path.suffix)
        descriptor: int | None = None
        try:
            descriptor = create(partial)
            file = _in_format(descriptor, partial, sample_rate, format, coding)
            return AudioWriter(file, path, partial, sample_rate, clips=coding != "float", force=force)
        except BaseException as error:
            if descriptor is not None:
                os.close(descriptor)
                partial.unlink()
            elif isinstance(error, FileExistsError):
                continue
            raise
    raise AssertionError("not reached")


def _in_format(descriptor: int, path: Path, sample_rate: int, format: AudioFormat, coding: str) -> _File:
    if format.name == "wav":
        return WavFile(descriptor, path, sample_rate, coding)
    if format.name == "raw":
        return RawFile(descriptor, path)
    return EncodedFile(descriptor, path, sample_rate, format.container, format.subtypes[coding])


class AudioWriter:
    """Made by `open_audio`. At the end of its `with` block:

    - without an exception, or with KeyboardInterrupt, the file gets its final name;
    - with any other exception it keeps its partial name (`kept`), or is removed if it holds nothing that can be played;
    - a file of no samples is removed.

    An exception that a signal raises, at whatever place, falls before or after what is done to the file, never into it.

    Attributes:
        path: the final name.
        partial: the name until then; None where samples go to standard output, a device or a pipe.
        clipped: samples that were outside of [-1, 1] and were clipped.
    """

    def __init__(
        self, file: _File, path: Path, partial: Path | None, sample_rate: int, *, clips: bool, force: bool
    ) -> None:
        self.path, self.partial, self.sample_rate = path, partial, sample_rate
        self.clipped = 0
        self._file, self._clips, self._force = file, clips, force
        self._has_partial = partial is not None
        self._lock, self._process = threading.Lock(), os.getpid()
        self._failed = self._closed = False

    @property
    def seconds(self) -> float:
        """Of audio that are in the file."""
        return self._file.samples / self.sample_rate

    @property
    def kept(self) -> Path | None:
        """The partial name where the audio stands under it; None where it has its final name, or there is none."""
        return self.partial if self._has_partial and self._file.samples else None

    def write(self, chunk: np.ndarray) -> None:
        """Append float32 [samples]; 1 is full scale.

        Raises:
            ValueError: not [samples], or NaN or infinite values; nothing of the chunk is written.
            OSError: no space, say.
        """
        samples = np.asarray(chunk, np.float32)
        if samples.ndim != 1:
            raise ValueError(f"{self.path}: a chunk must be a [samples] array, not of shape {list(samples.shape)}")
        wrong = int(np.sum(~np.isfinite(samples)))
        if wrong:
            raise ValueError(f"{self.path}: {wrong} samples are NaN or infinite")
        uninterrupted(lambda: self._write(samples), lock=self._lock, hurry=self.hurry)

    def close(self) -> None:
        """Finish the file and give it its final name; one of no samples is removed. Harmless when that is done.

        Raises:
            FileExistsError: another file got that name meanwhile and `force` is not given; see `kept`.
            OSError: no space for the end of the file, say.
        """
        uninterrupted(self._close, lock=self._lock, hurry=self.hurry)

    def abandon(self) -> None:
        """Finish the file under its partial name, or remove it if nothing of it can be played; raises no OSError."""
        uninterrupted(self._abandon, lock=self._lock, hurry=self.hurry)

    def hurry(self) -> None:
        """Wait no longer for who shall read samples and does not. May be called in any thread."""
        self._file.hurry()

    def _write(self, samples: np.ndarray) -> None:
        if self._closed:
            raise ValueError(f"{self.path}: closed already")
        if not samples.size:
            return
        outside = int(np.sum(np.abs(samples) > 1)) if self._clips else 0
        try:
            self._file.write(np.clip(samples, -1.0, 1.0) if self._clips else samples)
        except OSError:
            self._failed = True
            raise
        self.clipped += outside

    def _close(self) -> None:
        if self._is_done():
            return
        try:
            self._finish()
        finally:
            self._remove_unplayable()
        if self.kept is not None:
            self._give_name(self.kept)

    def _abandon(self) -> None:
        if not self._is_done():
            with contextlib.suppress(OSError):
                self._finish()
            self._remove_unplayable()

    def _is_done(self) -> bool:
        """Also in a process that was forked while this one wrote: the file is not its affair."""
        return self._closed or self._process != os.getpid()

    def _finish(self) -> None:
        try:
            self._file.close()
        except OSError:
            self._failed = True
            raise
        finally:
            self._closed = True

    def _remove_unplayable(self) -> None:
        if self._has_partial and (not self._file.samples or (self._failed and not self._file.always_whole)):
            assert self.partial is not None
            self.partial.unlink(missing_ok=True)
            self._has_partial = False

    def _give_name(self, partial: Path) -> None:
        try:
            give_name(partial, self.path, force=self._force)
            self._has_partial = False
        except FileExistsError:
            raise FileExistsError(f"{self.path} came into being meanwhile; the audio is in {partial}") from None
        except BaseException:
            with contextlib.suppress(OSError):
                if partial.samefile(self.path):  # for a moment it has both names
                    partial.unlink()
            self._has_partial = partial.exists()
            raise

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.hurry()
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        else:
            self.abandon()

    def __del__(self) -> None:
        # Where a `with` block could not begin or end. Not by a thread: a finalizer may run while one is being started.
        if not getattr(self, "_closed", True):
            self._abandon()
