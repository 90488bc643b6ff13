"""mp3 (and mp1, mp2): frames are counted, whatever the file says of its length.

A file from a pipe tells nothing, so that a decoder guesses from the first frame's bit rate; one that was joined from
several says the length of its first, and libsndfile reads no further. Here all frames are walked
through, each recording gets a header with its true length, and what is no frame (tags, pictures) is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mlx_cosyvoice.audio.containers.layout import FileView, Layout, Part
from mlx_cosyvoice.audio.containers.mpeg_frame import FrameHeader, is_tag, parse_header, true_tag
from mlx_cosyvoice.audio.containers.tags import tag_length

#: Frames in a row that are taken for sound: 4 bytes of noise look like a header every now and then.
_CERTAIN = 3
#: How far behind junk sound is looked for, in bytes.
_FARTHEST = 1 << 20
#: Junk that is not worth a word, in bytes: an encoder's last, unfinished frame or a tag that nobody knows.
_NEGLIGIBLE = 4096


@dataclass
class _Stream:
    """Frames of one kind that follow each other."""

    header: FrameHeader
    first: bytes
    tag: bytes | None = None
    ranges: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0

    def add(self, start: int, end: int) -> None:
        self.frames += 1
        if self.ranges and self.ranges[-1][1] == start:
            start = self.ranges.pop()[0]
        self.ranges.append((start, end))

    def part(self, tag: bytes | None, trimmed: bool) -> Part:
        size = sum(end - start for start, end in self.ranges)
        front = b""
        if self.header.side:
            front = true_tag(tag, self.first, self.header, self.frames, size, trimmed=trimmed)
        return Part((front, *self.ranges), self.frames * self.header.samples)


def is_mpeg(view: FileView) -> bool:
    """Whether frames begin at the start, or behind a tag or a little junk."""
    return _sound_from(view, _past_tags(view, 0)) is not None


def mpeg_layout(view: FileView, max_seconds: float | None) -> Layout:
    """Walk through the frames, but no further than `max_seconds` of sound, which is more than anybody needs."""
    streams: list[_Stream] = []
    skipped, tag, seconds = 0, None, 0.0
    for start, header in _frames(view):
        if header is None:
            skipped += start
            continue
        frame = view.at(start, min(header.length, 512))
        if is_tag(frame, header):
            tag = view.at(start, header.length)
            continue
        if not streams or tag is not None or streams[-1].header.kind != header.kind:
            streams.append(_Stream(header, frame[:4], tag))
            tag = None
        streams[-1].add(start, start + header.length)
        seconds += header.samples / header.kind[2]
        if max_seconds is not None and seconds > max_seconds:
            break
    remark = f"{skipped} bytes within it are not MPEG audio and were left out: is it damaged?"
    # As ffmpeg does, only the outermost ends are trimmed of what the encoder added, and where it is sure.
    parts = (stream.part(None if number else stream.tag, len(streams) == 1) for number, stream in enumerate(streams))
    return Layout(tuple(parts), (remark,) if skipped > _NEGLIGIBLE else ())


def _frames(view: FileView) -> Iterator[tuple[int, FrameHeader | None]]:
    """(start, header) of every whole frame; (bytes, None) for junk."""
    place, kind = 0, None
    while True:
        place = _past_tags(view, place)
        header = parse_header(view.at(place, 4))
        if header is not None and header.kind == kind and place + header.length <= view.size:
            yield place, header
            place += header.length
            continue
        found = _sound_from(view, place)
        if found is None:
            left = view.size - place
            # the last frame of a recorder that was killed
            if left > (header.length if header is not None else 0) and view.at(place, _NEGLIGIBLE).strip(b"\0"):
                yield left, None
            return
        if found > place:
            yield found - place, None
        place = found
        header = parse_header(view.at(place, 4))
        assert header is not None
        kind = header.kind


def _past_tags(view: FileView, place: int) -> int:
    while length := tag_length(view, place):
        place += length
    return place


def _sound_from(view: FileView, place: int) -> int | None:
    """Where, from `place` on, frames follow each other."""
    end = min(view.size, place + _FARTHEST)
    while (place := view.find(b"\xff", place, end)) >= 0:
        if _follow_each_other(view, place):
            return place
        place += 1
    return None


def _follow_each_other(view: FileView, place: int) -> bool:
    kind = None
    for _ in range(_CERTAIN):
        header = parse_header(view.at(place, 4))
        if header is None or kind not in (None, header.kind) or place + header.length > view.size:
            # fewer are enough where they end exactly with the file, or a tag follows
            return kind is not None and (place == view.size or tag_length(view, place) > 0)
        kind = header.kind
        place += header.length
    return True
