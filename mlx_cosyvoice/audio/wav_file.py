"""Wav files that can be played at every moment while they grow."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np

from mlx_cosyvoice.audio.pcm import SAMPLE_BYTES, encode_pcm
from mlx_cosyvoice.audio.positioned import create, write_at

#: What the 32-bit sizes of a plain wav file can say.
_LARGEST = 0xFFFFFFFF


class WavFile:
    """A mono wav file. After each `write` its header is that of a whole file, so that a killed process leaves one.

    Beyond 4 GB it turns into RF64 (EBU Tech 3306), for whose larger header the room is kept from the start.

    Args:
        path: a new file.
        sample_rate: in Hz.
        subtype: "pcm16", "pcm24" or "float".

    Raises:
        FileExistsError: `path` exists.
        OSError: it cannot be created.
    """

    #: Whether what was written can be played though writing failed.
    always_whole = True

    def __init__(self, path: Path, sample_rate: int, subtype: str) -> None:
        self._path, self._rate, self._subtype = path, sample_rate, subtype
        self._data = 0  # bytes of samples
        self._start = len(self._header())
        self._descriptor = create(path)
        try:
            write_at(self._descriptor, self._header(), 0, path)
        except BaseException:
            os.close(self._descriptor)
            path.unlink()
            raise

    def write(self, samples: np.ndarray) -> None:
        """Append float32 [samples].

        Raises:
            OSError: no space, say; the file holds what was written before.
        """
        data = encode_pcm(samples, self._subtype)
        write_at(self._descriptor, data, self._start + self._data, self._path)
        self._data += len(data)
        write_at(self._descriptor, self._header(), 0, self._path)

    def close(self) -> None:
        """Cut off what was not written to its end, and close the file.

        Raises:
            OSError: the disk failed.
        """
        try:
            os.ftruncate(self._descriptor, self._start + self._data)
            if self._data % 2:  # chunks have even sizes
                write_at(self._descriptor, b"\0", self._start + self._data, self._path)
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)

    def _header(self) -> bytes:
        width = SAMPLE_BYTES[self._subtype]
        code = 3 if self._subtype == "float" else 1
        format_ = struct.pack("<HHIIHH", code, 1, self._rate, self._rate * width, width, 8 * width)
        frames = self._data // width
        extra = b""
        if code == 3:  # as the standard wants it where samples are not integers
            format_ += struct.pack("<H", 0)
            extra = b"fact" + struct.pack("<II", 4, min(frames, _LARGEST))
        chunks = b"fmt " + struct.pack("<I", len(format_)) + format_ + extra + b"data"
        size = 4 + 36 + len(chunks) + 4 + self._data + self._data % 2
        if size > _LARGEST:
            sizes = struct.pack("<QQQI", size, self._data, frames, 0)
            return b"RF64" + b"\xff" * 4 + b"WAVE" + b"ds64" + struct.pack("<I", 28) + sizes + chunks + b"\xff" * 4
        room = b"JUNK" + struct.pack("<I", 28) + bytes(28)
        return b"RIFF" + struct.pack("<I", size) + b"WAVE" + room + chunks + struct.pack("<I", self._data)
