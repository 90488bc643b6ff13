"""Flac, ogg and mp3 files, by libsndfile."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from mlx_cosyvoice.audio.errors import AudioError
from mlx_cosyvoice.audio.positioned import create, write_at


class EncodedFile:
    """A mono audio file that libsndfile writes.

    libsndfile runs on a thread of its own: KeyboardInterrupt, which only the main thread gets, would be lost in the
    calls that it makes back into Python, and the samples with it.

    Args:
        path: a new file.
        sample_rate: in Hz.
        container: libsndfile's name of the format, "FLAC" say.
        subtype: libsndfile's name of the coding, "PCM_16" say.

    Raises:
        AudioError: libsndfile does not know the format, or not at that sample rate.
        FileExistsError: `path` exists.
        OSError: it cannot be created.
    """

    always_whole = False

    def __init__(self, path: Path, sample_rate: int, container: str, subtype: str) -> None:
        if container not in soundfile.available_formats() or not soundfile.check_format(container, subtype):
            raise AudioError(
                f"{path}: the libsndfile {soundfile.__libsndfile_version__} in use cannot write {container} "
                f"({subtype}): upgrade soundfile, or write wav"
            )
        self._sink = _Sink(path)
        self._thread = ThreadPoolExecutor(1, "mlx-cosyvoice encoder")
        try:
            self._file = self._thread.submit(
                soundfile.SoundFile, self._sink, "w", sample_rate, 1, subtype, format=container
            ).result()
            self._sink.raise_failure()
        except BaseException as error:
            self._thread.shutdown()
            os.close(self._sink.descriptor)
            path.unlink(missing_ok=True)
            if isinstance(error, soundfile.LibsndfileError):
                raise AudioError(f"{path}: cannot write {container} ({subtype}) at {sample_rate} Hz") from error
            raise

    def write(self, samples: np.ndarray) -> None:
        """Append float32 [samples] in [-1, 1], which must not change any more.

        Raises:
            OSError: no space, say.
        """
        self._thread.submit(self._file.write, samples).result()
        self._sink.raise_failure()

    def close(self) -> None:
        """Write what the encoder still holds.

        Raises:
            OSError: no space, say.
        """
        try:
            self._thread.submit(self._file.close).result()
            self._sink.raise_failure()
            os.fsync(self._sink.descriptor)
        finally:
            self._thread.shutdown()
            os.close(self._sink.descriptor)


class _Sink:
    """The file as libsndfile sees it. An exception cannot pass through libsndfile, so it is kept for afterwards."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor = create(path)
        self._position = 0
        self._failure: OSError | None = None

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def write(self, data: bytes) -> int:
        if self._failure is None:
            try:
                write_at(self.descriptor, data, self._position, self._path)
            except OSError as error:
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
