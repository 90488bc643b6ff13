"""The header of an MPEG audio frame (mp1, mp2, mp3), and of the frame that tells how long a file is."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

#: kbit/s by index: (MPEG-1, layer) and, for MPEG-2 and 2.5, layers I and the other two.
_RATES_1 = {
    1: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_RATES_2_LAYER_1 = (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_HERTZ = (44100, 48000, 32000)

#: Index of the bit rate of a frame that we make: it has room for the count.
_ROOMY = 8


@dataclass(frozen=True)
class FrameHeader:
    """What the four bytes say.

    Attributes:
        kind: (version, layer, sample rate, mono): frames that differ in it are not of one stream.
        length: of the frame, in bytes.
        samples: of each channel.
        side: bytes of the side information, behind which a Xing header stands; 0 but for layer III.
    """

    kind: tuple[int, int, int, bool]
    length: int
    samples: int
    side: int


@lru_cache(maxsize=4096)
def parse_header(head: bytes) -> FrameHeader | None:
    """Of the first 4 bytes of a frame; None if they begin none. (A free bit rate is not read: nobody uses it.)"""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = (head[1] >> 3) & 3, 4 - ((head[1] >> 1) & 3)  # version 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
    index, hertz, padding = head[2] >> 4, (head[2] >> 2) & 3, (head[2] >> 1) & 1
    if version == 1 or layer == 4 or index in (0, 15) or hertz == 3 or head[3] & 3 == 2:
        return None
    first = version == 3
    rate = _HERTZ[hertz] >> (0 if first else 1 if version == 2 else 2)
    kilobits = (_RATES_1[layer] if first else _RATES_2_LAYER_1 if layer == 1 else _RATES_2)[index]
    mono = head[3] >> 6 == 3
    if layer == 1:
        length, samples = (12000 * kilobits // rate + padding) * 4, 384
    else:
        samples = 576 if layer == 3 and not first else 1152
        length = samples * 125 * kilobits // rate + padding
    side = 0 if layer != 3 else (17 if mono else 32) if first else (9 if mono else 17)
    return FrameHeader((version, layer, rate, mono), length, samples, side)


def is_tag(frame: bytes, header: FrameHeader) -> bool:
    """Whether a frame holds no sound but tells about the file (Xing, Info, VBRI)."""
    xing = 4 + header.side
    return header.side > 0 and (frame[xing : xing + 4] in (b"Xing", b"Info") or frame[36:40] == b"VBRI")


def true_tag(
    tag: bytes | None, first: bytes, header: FrameHeader, frames: int, size: int, *, trimmed: bool = True
) -> bytes:
    """A frame that tells how many frames follow: `tag` if that is right, else one made from the `first` frame.

    Where the count was wrong, the padding that an encoder noted for the end belongs to another end: it is dropped.

    Args:
        tag: the frame that the file has, if any.
        first: of the frames with sound, its four bytes at least.
        header: of `first`, layer III.
        frames: with sound.
        size: of them, in bytes.
        trimmed: whether the decoder shall cut off the padding at the end.
    """
    declared = tag and _declared_frames(tag, header.side)
    if tag and trimmed and declared in (frames, frames + 1):  # some count the tag
        return tag
    delay = tag[_lame_at(tag, header.side) :][:24] if tag and declared is not None else b""
    head = bytes([0xFF, first[1] | 1, _ROOMY << 4 | first[2] & 0x0C, first[3]])
    made = parse_header(head)
    assert made is not None
    body = bytes(header.side) + b"Xing" + struct.pack(">III", 3, frames, size + made.length)
    if len(delay) == 24:
        body += delay[:22] + bytes([delay[22] & 0xF0, 0])
    return (head + body).ljust(made.length, b"\0")


def _declared_frames(tag: bytes, side: int) -> int | None:
    xing = 4 + side
    if tag[xing : xing + 4] not in (b"Xing", b"Info") or len(tag) < xing + 12 or not tag[xing + 7] & 1:
        return None
    return int.from_bytes(tag[xing + 8 : xing + 12], "big")


def _lame_at(tag: bytes, side: int) -> int:
    """Where the part of the encoder LAME stands: behind counts of frames and bytes, a table, a quality."""
    flags = tag[4 + side + 7]
    return 4 + side + 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
