"""Flac, ogg and mp3 files, by libsndfile."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soundfile

from mlx_cosyvoice.audio.errors import AudioError
from mlx_cosyvoice.audio.positioned import write_at

#: Not the descriptor of any file.
_NONE = -1


class EncodedFile:
    """A mono audio file that libsndfile writes.

    It must be used in threads that no signal reaches, as `uninterrupted` sees to: a KeyboardInterrupt would be lost in
    the calls that libsndfile makes back into Python, and the samples with it.

    Args:
        descriptor: of a new file, which `close` closes.
        path: its name, for errors.
        sample_rate: in Hz.
        container: libsndfile's name of the format, "FLAC" say.
        subtype: libsndfile's name of the coding, "PCM_16" say.

    Raises:
        AudioError: libsndfile does not know the format, or not at that sample rate.
        OSError: no space, say.
    """

    always_whole = False

    def __init__(self, descriptor: int, path: Path, sample_rate: int, container: str, subtype: str) -> None:
        if container not in soundfile.available_formats() or not soundfile.check_format(container, subtype):
            raise AudioError(
                f"{path}: the libsndfile {soundfile.__libsndfile_version__} in use cannot write {container} "
                f"({subtype}): upgrade soundfile, or write wav"
            )
        self._sink = _Sink(descriptor, path)
        try:
            self._file = soundfile.SoundFile(self._sink, "w", sample_rate, 1, subtype, format=container)
            self._sink.raise_failure()
        except BaseException as error:
            self._sink.descriptor = _NONE  # whoever opened it closes it, and libsndfile may still write its end
            if isinstance(error, soundfile.LibsndfileError):
                self._sink.raise_failure()
                raise AudioError(f"{path}: cannot write {container} ({subtype}) at {sample_rate} Hz") from error
            raise
        self._closed = False

    @property
    def samples(self) -> int:
        """How many the encoder has taken."""
        return int(self._file.frames)

    def write(self, samples: np.ndarray) -> None:
        """Append float32 [samples] in [-1, 1].

        Raises:
            OSError: no space, say.
        """
        self._file.write(samples)
        self._sink.raise_failure()

    def close(self) -> None:
        """Write what the encoder still holds. Harmless when it is closed.

        Raises:
            OSError: no space, say.
        """
        if self._closed:
            return
        try:
            self._file.close()
            self._sink.raise_failure()
            os.fsync(self._sink.descriptor)
        finally:
            self._closed = True
            os.close(self._sink.descriptor)

    def hurry(self) -> None:
        """Nothing here waits for anybody."""


class _Sink:
    """The file as libsndfile sees it. An exception cannot pass through libsndfile, so it is kept for afterwards."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.descriptor, self._path = descriptor, path
        self._position = 0
        self._failure: BaseException | None = None

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def write(self, data: bytes) -> int:
        if self._failure is None:
            try:
                write_at(self.descriptor, data, self._position, self._path)
            except BaseException as error:
                self._failure = error
        self._position += len(data)
        return len(data)

    def read(self, count: int) -> bytes:
        data = os.pread(self.descriptor, count, self._position)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: os.fstat(self.descriptor).st_size}
        self._position = base[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position
