"""FLAC: the count of samples in its head may be unknown (from a pipe) or wrong, so a decoder gets none."""

from __future__ import annotations

from mlx_cosyvoice.audio.containers.layout import FileView, Layout, Part
from mlx_cosyvoice.audio.containers.tags import tag_length

#: "fLaC" and the head of a STREAMINFO block of 34 bytes, which comes first by the standard; the last block or not.
_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_STREAMINFO = 34
#: How far into a file a tag may push the start; a picture is smaller.
_FARTHEST = 64 << 20
#: How far another file is looked for. The decoder reads one that is joined farther on as damage.
_LONGEST = 256 << 20


def flac_start(view: FileView) -> int | None:
    """Where FLAC begins behind tags, or None."""
    place = 0
    while length := tag_length(view, place):
        place += length
    return place if place <= _FARTHEST and view.at(place, 8) in _STARTS else None


def flac_layout(view: FileView) -> Layout:
    """Joined files are cut where another one begins; 64 bits of the search do not occur by chance."""
    start = flac_start(view)
    assert start is not None
    parts = []
    while start < view.size:
        stop = min(view.size, start + _LONGEST)
        end = _next_start(view, start + 8, stop) or view.size
        parts.append(_part(view, start, end))
        start = end
    return Layout(tuple(parts))


def _next_start(view: FileView, place: int, stop: int) -> int | None:
    """Of the four bytes that are no zeros first: a long word with many is slow to look for among zeros."""
    while (place := view.find(b"fLaC", place, stop)) >= 0:
        if view.at(place, 8) in _STARTS:
            return place
        place += 4
    return None


def _part(view: FileView, start: int, end: int) -> Part:
    """The stream in start..end without its other blocks (comments, pictures) and without its count of samples."""
    info = bytearray(view.at(start + 8, _STREAMINFO))
    audio = _audio(view, start, end)
    if len(info) < _STREAMINFO or audio is None:
        return Part(((start, end),))  # let the decoder say what is wrong
    declared = int.from_bytes(info[10:18], "big") & (1 << 36) - 1
    info[13] &= 0xF0  # 36 bits: samples of each channel
    info[14:18] = bytes(4)
    return Part((_STARTS[1] + bytes(info), (audio, end)), declared or None)


def _audio(view: FileView, start: int, end: int) -> int | None:
    """Where the blocks end and the frames begin."""
    place, last = start + 4, False
    while not last:
        head = view.at(place, 4)
        if len(head) < 4 or place >= end:
            return None
        last = bool(head[0] & 0x80)
        place += 4 + int.from_bytes(head[1:4], "big")
    return place if place < end else None
