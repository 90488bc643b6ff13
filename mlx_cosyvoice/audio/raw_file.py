"""Samples without any header, to a file, a pipe or a device."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from mlx_cosyvoice.audio.pcm import encode_pcm


class RawFile:
    """Mono samples, 16-bit little-endian integers, each chunk flushed at once.

    Args:
        file: written to.
        keep_open: after `close`, as standard output must be.
    """

    always_whole = True

    def __init__(self, file: BinaryIO, *, keep_open: bool = False) -> None:
        self._file, self._keep_open = file, keep_open

    def write(self, samples: np.ndarray) -> None:
        """Append float32 [samples].

        Raises:
            BrokenPipeError: who read has gone away.
            OSError: no space, say.
        """
        view = memoryview(encode_pcm(samples, "pcm16"))
        while view:
            view = view[self._file.write(view) :]
        self._file.flush()

    def close(self) -> None:
        if not self._keep_open:
            self._file.close()
