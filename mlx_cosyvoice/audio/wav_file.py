"""Wav files that can be played at every moment while they grow."""

from __future__ import annotations

import struct
from pathlib import Path

from mlx_cosyvoice.audio.pcm import SAMPLE_BYTES
from mlx_cosyvoice.audio.positioned import write_at
from mlx_cosyvoice.audio.raw_file import RawFile

#: What the 32-bit sizes of a plain wav file can say.
_LARGEST = 0xFFFFFFFF


class WavFile(RawFile):
    """A mono wav file. After each `write` its header is that of a whole file, so that a killed process leaves one.

    Beyond 4 GB it turns into RF64 (EBU Tech 3306), for whose larger header the room is kept from the start.

    Args:
        descriptor: of a new file, which `close` closes.
        path: its name, for errors.
        sample_rate: in Hz.
        subtype: "pcm16", "pcm24" or "float".

    Raises:
        OSError: no space, say.
    """

    def __init__(self, descriptor: int, path: Path, sample_rate: int, subtype: str) -> None:
        super().__init__(descriptor, path, subtype)
        self._rate = sample_rate
        self._start = len(self._header())
        self._said: int | None = None  # bytes of samples, by the header that is in the file
        self._write_header()

    def _write_header(self) -> None:
        if self._said != self._data:
            write_at(self._descriptor, self._header(), 0, self._path)
            self._said = self._data

    def _pad(self) -> None:
        if self._data % 2:  # chunks have even sizes
            write_at(self._descriptor, b"\0", self._start + self._data, self._path)

    def _header(self) -> bytes:
        width = SAMPLE_BYTES[self._subtype]
        code = 3 if self._subtype == "float" else 1
        format_ = struct.pack("<HHIIHH", code, 1, self._rate, self._rate * width, width, 8 * width)
        extra = b""
        if code == 3:  # as the standard wants it where samples are not integers
            format_ += struct.pack("<H", 0)
            extra = b"fact" + struct.pack("<II", 4, min(self.samples, _LARGEST))
        chunks = b"fmt " + struct.pack("<I", len(format_)) + format_ + extra + b"data"
        size = 4 + 36 + len(chunks) + 4 + self._data + self._data % 2
        if size > _LARGEST:
            sizes = struct.pack("<QQQI", size, self._data, self.samples, 0)
            return b"RF64" + b"\xff" * 4 + b"WAVE" + b"ds64" + struct.pack("<I", 28) + sizes + chunks + b"\xff" * 4
        room = b"JUNK" + struct.pack("<I", 28) + bytes(28)
        return b"RIFF" + struct.pack("<I", size) + b"WAVE" + room + chunks + struct.pack("<I", self._data)
