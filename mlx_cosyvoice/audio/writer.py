"""Audio files that are written chunk by chunk while the audio is made."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from mlx_cosyvoice.audio.encoded_file import EncodedFile
from mlx_cosyvoice.audio.errors import AudioError
from mlx_cosyvoice.audio.formats import AudioFormat, find_format
from mlx_cosyvoice.audio.raw_file import RawFile
from mlx_cosyvoice.audio.wav_file import WavFile
from mlx_cosyvoice.files import check_target, give_name


class _File(Protocol):
    always_whole: bool

    def write(self, samples: np.ndarray) -> None: ...

    def close(self) -> None: ...


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
        stdout = RawFile(sys.stdout.buffer, keep_open=True)
        return AudioWriter(stdout, Path("-"), None, sample_rate, clips=True, force=force)
    path = Path(path)
    if not is_file:
        device: BinaryIO = path.open("wb", buffering=0)  # type: ignore[assignment]
        return AudioWriter(RawFile(device), path, None, sample_rate, clips=True, force=force)
    chosen, coding = find_format(path, format, subtype)
    partial, file = _create_beside(path, lambda partial: _create(partial, sample_rate, chosen, coding))
    return AudioWriter(file, path, partial, sample_rate, clips=coding != "float", force=force)


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


def _create(path: Path, sample_rate: int, format: AudioFormat, subtype: str) -> _File:
    if format.name == "wav":
        return WavFile(path, sample_rate, subtype)
    if format.name == "raw":
        return RawFile(path.open("xb", buffering=0))  # type: ignore[arg-type]
    return EncodedFile(path, sample_rate, format.container, format.subtypes[subtype])


def _create_beside(path: Path, create: Callable[[Path], _File]) -> tuple[Path, _File]:
    """A file beside `path` under a name that tells what it is and that nothing has."""
    for number in itertools.count(1):
        middle = ".partial" if number == 1 else f".partial-{number}"
        partial = path.with_name(path.stem + middle + path.suffix)
        try:
            return partial, create(partial)
        except FileExistsError:
            continue
    raise AssertionError("not reached")


class AudioWriter:
    """Made by `open_audio`. At the end of its `with` block:

    - without an exception, or with KeyboardInterrupt, the file gets its final name;
    - with any other exception it keeps its partial name (`kept`), or is removed if it holds nothing that can be played;
    - a file of no samples is removed.

    Attributes:
        path: the final name.
        partial: the name until then; None where samples go to standard output, a device or a pipe.
        kept: the partial name, if the file was left under it.
        clipped: samples that were outside of [-1, 1] and were clipped.
        seconds: of audio that were written.
    """

    def __init__(
        self, file: _File, path: Path, partial: Path | None, sample_rate: int, *, clips: bool, force: bool
    ) -> None:
        self.path, self.partial, self.sample_rate = path, partial, sample_rate
        self.kept: Path | None = None
        self.clipped = 0
        self._file, self._clips, self._force = file, clips, force
        self._samples = 0
        self._failed = self._closed = False

    @property
    def seconds(self) -> float:
        return self._samples / self.sample_rate

    def write(self, chunk: np.ndarray) -> None:
        """Append float32 [samples]; 1 is full scale.

        Raises:
            ValueError: not [samples], or NaN or infinite values; nothing of the chunk is written.
            OSError: no space, say.
        """
        if self._closed:
            raise ValueError(f"{self.path}: closed already")
        samples = np.asarray(chunk, np.float32)
        if samples.ndim != 1:
            raise ValueError(f"{self.path}: a chunk must be a [samples] array, not of shape {list(samples.shape)}")
        wrong = int(np.sum(~np.isfinite(samples)))
        if wrong:
            raise ValueError(f"{self.path}: {wrong} samples are NaN or infinite")
        if not samples.size:
            return
        if self._clips:
            self.clipped += int(np.sum(np.abs(samples) > 1))
            samples = np.clip(samples, -1.0, 1.0)
        try:
            self._file.write(samples)
        except OSError:
            self._failed = True
            raise
        self._samples += samples.size

    def close(self) -> None:
        """Finish the file and give it its final name; one of no samples is removed.

        Raises:
            FileExistsError: another file got that name meanwhile and `force` is not given; see `kept`.
            OSError: no space for the end of the file, say.
        """
        if self._closed:
            return
        try:
            self._finish()
        except OSError:
            self._failed = True
            self._keep_or_remove()
            raise
        if self.partial is None:
            return
        if not self._samples:
            self.partial.unlink(missing_ok=True)
            return
        try:
            give_name(self.partial, self.path, force=self._force)
        except FileExistsError:
            self.kept = self.partial
            raise FileExistsError(f"{self.path} came into being meanwhile; the audio is in {self.partial}") from None

    def abandon(self) -> None:
        """Finish the file under its partial name, or remove it if nothing of it can be played; raises no OSError."""
        if self._closed:
            return
        try:
            self._finish()
        except OSError:
            self._failed = True
        self._keep_or_remove()

    def _finish(self) -> None:
        self._closed = True
        self._file.close()

    def _keep_or_remove(self) -> None:
        if self.partial is None:
            return
        if self._samples and (self._file.always_whole or not self._failed):
            self.kept = self.partial
        else:
            self.partial.unlink(missing_ok=True)

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        else:
            self.abandon()
