"""Recordings that nobody made: a buzz that is like a voice in what matters here, and files of it, whole and broken."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 24000


def buzz(seconds: float, rate: int = RATE, hertz: float = 180.0, seed: int = 0) -> np.ndarray:
    """Words of 0.4 s with gaps of 0.1 s, float32 [samples]."""
    moment = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(moment))
    wave = sum(np.sin(2 * np.pi * hertz * number * moment) / number for number in (1, 2, 3, 4))
    return ((0.2 * wave + 0.02 * noise) * (moment % 0.5 < 0.4)).astype(np.float32)


def encoded(wave: np.ndarray, format: str, subtype: str | None = None, rate: int = RATE, **options: Any) -> bytes:
    """`wave` [samples] or [samples, channels] as a file."""
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=format, subtype=subtype, **options)
    return file.getvalue()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def with_number(content: bytes, name: bytes, number: int, form: str = "<I", behind: int = 4) -> bytes:
    """`content` with a number packed in `form`, `behind` bytes from the first `name` on."""
    place = content.index(name) + behind
    return content[:place] + struct.pack(form, number) + content[place + struct.calcsize(form) :]


def mp3(wave: np.ndarray, rate: int = RATE, bitrate_mode: str = "VARIABLE", tagged: bool = False) -> bytes:
    """As an encoder writes it to a file (`tagged`: the first frame tells the length), or to a pipe, where it is not."""
    content = encoded(wave, "MP3", rate=rate, bitrate_mode=bitrate_mode, compression_level=0.5)
    return content if tagged else content[mp3_frame(content) :]


def mp3_frame(content: bytes) -> int:
    """Length of the first frame: kbit/s of MPEG-1 and MPEG-2, layer III."""
    first = content[1] & 8
    kilobits = (
        (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
        if first
        else (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    )[content[2] >> 4]
    rate = (44100, 48000, 32000)[content[2] >> 2 & 3] // (1 if first else 2)
    return (144 if first else 72) * kilobits * 1000 // rate + (content[2] >> 1 & 1)


def id3(size: int) -> bytes:
    """A tag with a picture of so many bytes."""
    return b"ID3\x03\x00\x00" + bytes(size >> 7 * place & 0x7F for place in (3, 2, 1, 0)) + bytes(size)
