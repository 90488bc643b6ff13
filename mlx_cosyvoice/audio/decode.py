"""An audio file, block by block, mixed to mono. Nothing is believed of what it says about its length."""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from mlx_cosyvoice.audio.containers import FileView, Layout, Part, find_layout, kind_of, opened
from mlx_cosyvoice.audio.errors import AudioError, AudioWarning
from mlx_cosyvoice.audio.foreign import converted
from mlx_cosyvoice.audio.source import LARGEST, Source, name_of, open_source

#: Sample rates in Hz of recordings in which a voice can be heard, and that converters make.
LOWEST_RATE, HIGHEST_RATE = 4000, 384_000

#: Samples of all channels that are decoded at a time, and samples of a channel.
_BLOCK, _LONGEST_BLOCK = 1 << 18, 1 << 13
#: Bytes a second that a file may take which must be copied to be read: 32 bits, 8 channels at 192 kHz, and pictures.
_COPIED_A_SECOND, _COPIED = 6_200_000, 64 << 20
#: What encoders of MPEG audio add at the ends, in samples, so that a decoder gives so many more than were recorded.
_PADDING = 4 * 1152


class _UnreadableError(AudioError):
    """libsndfile does not know what this is."""


class Sound:
    """An open audio file; see `open_sound`.

    Attributes:
        name: what messages call it.
        sample_rate: of its first recording, to which others that were joined to it are resampled; in Hz.
        padding: samples by which a codec may have made it longer.
        broken: samples that are NaN or infinite, of all that was read.
    """

    def __init__(self, name: str, file: BinaryIO, view: FileView, layout: Layout, until: float | None) -> None:
        self.name = name
        self.padding = 0
        self.broken = 0
        self._file, self._view, self._layout, self._until = file, view, layout, until
        self._limit = LARGEST if until is None else min(LARGEST, int(_COPIED + until * _COPIED_A_SECOND))
        self.sample_rate = 0
        self._blocks = self._all_blocks()
        self._first = next(self._blocks, np.zeros(0, np.float32))

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples, float32 [samples], once.

        Raises:
            AudioError: the file is damaged; the message says from where on.
        """
        yield self._first
        yield from self._blocks

    def again(self) -> Sound:
        """The same file from its start; this one gives nothing any more."""
        self.close()
        return Sound(self.name, self._file, self._view, self._layout, self._until)

    def sha256(self) -> str:
        """Hex digest of the whole file."""
        self._file.seek(0)
        digest = hashlib.sha256()
        while block := self._file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()

    def close(self) -> None:
        self._blocks.close()  # type: ignore[attr-defined]

    def _all_blocks(self) -> Iterator[np.ndarray]:
        for remark in self._layout.remarks:
            self._warn(remark)
        if not self._layout.parts:
            raise _UnreadableError(f"{self.name}: cannot be read as audio (no whole frame of MPEG audio is in it)")
        for number, part in enumerate(self._layout.parts):
            try:
                yield from self._decoded(part)
            except AudioError:
                raise
            except (soundfile.SoundFileError, OSError, ValueError, OverflowError, MemoryError) as error:
                where = f"recording {number + 1} of those joined in it " if number else ""
                raise _UnreadableError(
                    f"{self.name}: {where}cannot be read as audio ({_reason(error)}); wav, flac, ogg and mp3 files can "
                    "be read"
                ) from error

    def _decoded(self, part: Part) -> Iterator[np.ndarray]:
        # libsndfile gets the descriptor: it would call back into Python for another kind of file, and lose Ctrl-C.
        with opened(part, self._view, self._file, self._limit) as (raw, whole):
            with soundfile.SoundFile(raw.fileno(), closefd=False) as audio:
                # soundfile would seek after every block, which not every format can
                audio.seekable = lambda: False  # type: ignore[method-assign]
                resample = self._begin(audio)
                count = 0
                for block in self._read(audio, raw, part):
                    count += len(block)
                    if not np.isfinite(block).all():
                        self.broken += int(np.sum(~np.isfinite(block)))
                    yield resample(block.mean(axis=1))
                yield resample(np.zeros(0, np.float32), last=True)
            if not whole:
                raise AudioError(f"{self.name}: its samples need more room than {self._limit >> 20} MB; convert it")
            if part.samples is not None and count < part.samples - _PADDING:
                rate = audio.samplerate
                self._warn(f"only {count / rate:.2f} s of {part.samples / rate:.2f} s could be decoded: is it damaged?")

    def _begin(self, audio: soundfile.SoundFile) -> _Resampler:
        rate = audio.samplerate
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise AudioError(
                f"{self.name}: has a sample rate of {rate} Hz; from {LOWEST_RATE} to {HIGHEST_RATE} Hz can be read"
            )
        if audio.format == "MP3":
            self.padding += _PADDING
        self.sample_rate = self.sample_rate or rate
        return _Resampler(rate, self.sample_rate)

    def _read(self, audio: soundfile.SoundFile, raw: BinaryIO, part: Part) -> Iterator[np.ndarray]:
        buffer = np.empty((max(1, min(_LONGEST_BLOCK, _BLOCK // audio.channels)), audio.channels), np.float32)
        count = 0
        while True:
            try:
                block = audio.read(out=buffer)
            except soundfile.SoundFileError as error:
                seconds = count / audio.samplerate
                reason = _reason(error)
                at_end = os.lseek(raw.fileno(), 0, os.SEEK_CUR) >= os.fstat(raw.fileno()).st_size
                if not (at_end and count and part.samples is None):
                    raise AudioError(
                        f"{self.name}: damaged, it can be read for {seconds:.2f} s only ({reason})"
                    ) from error
                self._warn(f"its end is cut off in mid-frame; read for {seconds:.2f} s")
                return
            if not len(block):
                return
            count += len(block)
            yield block

    def _warn(self, remark: str) -> None:
        warnings.warn(f"{self.name}: {remark}", AudioWarning, stacklevel=2)


class _Resampler:
    """Brings what was joined to a recording of another rate to the rate of the first."""

    def __init__(self, rate: int, wanted: int) -> None:
        self._stream = None if rate == wanted else soxr.ResampleStream(rate, wanted, 1, dtype="float32", quality="HQ")

    def __call__(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        return samples if self._stream is None else self._stream.resample_chunk(samples, last=last)


@contextlib.contextmanager
def open_sound(source: Source, until: float | None = None) -> Iterator[Sound]:
    """Open an audio file of any kind that libsndfile or the system reads.

    Args:
        source: a path, bytes or a file object.
        until: seconds from the start that are wanted at most; None for all.

    Raises:
        AudioError: the file is missing, not audio, or damaged from the start.
    """
    name = name_of(source)
    with contextlib.ExitStack() as stack:
        file, path = stack.enter_context(open_source(source))
        try:
            sound = _sound(name, file, until)
        except _UnreadableError:
            kind = kind_of(FileView(file))
            if kind is None:
                raise
            file = stack.enter_context(converted(path, name, kind, until))
            sound = _sound(name, file, until)
        with contextlib.closing(sound):
            yield sound


def _sound(name: str, file: BinaryIO, until: float | None) -> Sound:
    view = FileView(file)
    # a second more than is wanted, so that it cannot lack what a codec cuts off at its end
    return Sound(name, file, view, find_layout(view, None if until is None else until + 1), until)


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)) or type(error).__name__
