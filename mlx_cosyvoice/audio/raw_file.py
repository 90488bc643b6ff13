"""Files of samples without any header."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mlx_cosyvoice.audio.pcm import SAMPLE_BYTES, encode_pcm
from mlx_cosyvoice.audio.positioned import write_at


class RawFile:
    """Mono samples, each at its place in the file, so that only whole chunks count whatever happens.

    Args:
        descriptor: of a new file, which `close` closes.
        path: its name, for errors.
        subtype: a key of `SAMPLE_BYTES`.
    """

    #: Whether what was written can be played though writing failed.
    always_whole = True

    def __init__(self, descriptor: int, path: Path, subtype: str = "pcm16") -> None:
        self._descriptor, self._path, self._subtype = descriptor, path, subtype
        self._start = 0  # of the samples in the file
        self._data = 0  # bytes of samples
        self._closed = False

    @property
    def samples(self) -> int:
        """How many the file holds."""
        return self._data // SAMPLE_BYTES[self._subtype]

    def write(self, samples: np.ndarray) -> None:
        """Append float32 [samples].

        Raises:
            OSError: no space, say; the file holds what was written before.
        """
        data = encode_pcm(samples, self._subtype)
        write_at(self._descriptor, data, self._start + self._data, self._path)
        self._data += len(data)
        self._write_header()

    def close(self) -> None:
        """Cut off what was not written to its end, and close the file. Harmless when it is closed.

        Raises:
            OSError: the disk failed.
        """
        if self._closed:
            return
        try:
            self._write_header()
            os.ftruncate(self._descriptor, self._start + self._data)
            self._pad()
            os.fsync(self._descriptor)
        finally:
            self._closed = True
            os.close(self._descriptor)

    def hurry(self) -> None:
        """Nothing here waits for anybody."""

    def _write_header(self) -> None:
        """Say in the file how many samples it holds."""

    def _pad(self) -> None:
        """Add what the format wants after the last sample."""
