"""wav, RF64, AIFF, W64, CAF and AU: a head, and samples whose size the head tells, rightly or not.

A recorder that is killed leaves a size of 0 or of everything; a pipe cannot go back to write it. Then the samples
reach to the end of the file. Where another file of these kinds follows, it is a recording of its own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mlx_cosyvoice.audio.containers.layout import FileView, Layout, Part
from mlx_cosyvoice.audio.containers.tags import tag_length

_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
_UNKNOWN_4, _UNKNOWN_8 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
#: Bytes behind the samples that are not worth a word.
_NEGLIGIBLE = 4096
#: Chunks that a file may have; no program writes as many.
_MOST_CHUNKS = 10_000


@dataclass(frozen=True)
class _Form:
    """How chunks are laid out in a format.

    Attributes:
        start: of the first chunk.
        name: bytes of a chunk's name.
        size: struct format of a chunk's size.
        data: name of the chunk with the samples.
        inclusive: the size counts name and size too.
        align: chunks begin at multiples of it.
        front: bytes of the samples' chunk that come before them.
        unknown: the size by which the format's standard says "to the end of the file", if it has any.
    """

    start: int
    name: int
    size: str
    data: bytes
    inclusive: bool = False
    align: int = 2
    front: int = 0
    unknown: int | None = None

    @property
    def head(self) -> int:
        return self.name + struct.calcsize(self.size)


_RIFF = _Form(12, 4, "<I", b"data")
_RIFX = _Form(12, 4, ">I", b"data")
_AIFF = _Form(12, 4, ">I", b"SSND", front=8)
_CAF = _Form(8, 4, ">q", b"data", align=1, front=4, unknown=-1)
_WAVE64 = _Form(40, 16, "<Q", _W64_DATA, inclusive=True, align=8)


def chunked_form(head: bytes) -> _Form | str | None:
    """The layout that a file with these first 16 bytes has; "au"; or None."""
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _RIFF
    if head[:4] == b"RIFX" and head[8:12] == b"WAVE":
        return _RIFX
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _AIFF
    if head[:4] == b"caff" and head[4:6] == b"\0\x01":
        return _CAF
    if head[:16] == _W64:
        return _WAVE64
    return "au" if head[:4] in (b".snd", b"dns.") else None


@dataclass
class _Found:
    """The samples of one recording: where they begin and end, and what the head says of it."""

    start: int
    end: int
    declared: int
    finished: bool


def chunked_layout(view: FileView) -> Layout:
    """Cut joined files, and correct the size of samples that reach to the end of the file."""
    parts: list[Part] = []
    remarks: list[str] = []
    start, form = 0, None
    while (form := chunked_form(view.at(start, 16))) is not None:
        found, end = _au(view, start) if isinstance(form, str) else _walk(view, start, form)
        if found is None:
            parts.append(Part(((start, view.size),)))  # let the decoder say what is missing
            break
        # a last chunk of odd size should be padded; not every program does
        end = next((place for place in (end, found.end) if chunked_form(view.at(place, 16)) is not None), end)
        follows = end < view.size and chunked_form(view.at(end, 16)) is not None
        parts.append(_part(view, start, found, view.size if not follows and not parts else end, form))
        if not found.finished:
            remarks.append(_unfinished(found))
        start = end
        if not follows:
            remarks += _left_over(view, end)
            break
    return Layout(tuple(parts), tuple(remarks))


def _walk(view: FileView, start: int, form: _Form) -> tuple[_Found | None, int]:
    """The samples of the recording at `start`, and where it ends: behind its last chunk."""
    place, found, wide = start + form.start, None, None
    for _ in range(_MOST_CHUNKS):
        head = view.at(place, form.head)
        if len(head) < form.head or not _is_name(head[: form.name], form):
            break
        name = head[: form.name]
        (size,) = struct.unpack(form.size, head[form.name :])
        inside = max(0, size - form.head) if form.inclusive else size
        if name == b"ds64":
            wide = int.from_bytes(view.at(place + 16, 8), "little")
        body = place + form.head
        if name == form.data and found is None:
            declared = wide if wide is not None and size == _UNKNOWN_4 else inside
            found = _samples(view, body, declared, form)
            inside = found.end - body
        elif not 0 <= inside <= view.size - body:
            break
        place = min(view.size, body + inside + -(body + inside - start) % form.align)
    return found, max(place, found.end) if found else place


def _samples(view: FileView, body: int, declared: int, form: _Form) -> _Found:
    rest = view.size - body
    if 0 <= declared <= form.front < rest and not _chunk_at(view, body + declared, form):
        return _Found(body, view.size, declared, finished=False)
    if not 0 <= declared <= rest:
        return _Found(body, view.size, declared, finished=declared == form.unknown)
    return _Found(body, body + declared, declared, finished=True)


def _chunk_at(view: FileView, place: int, form: _Form) -> bool:
    head = view.at(place, form.head)
    if len(head) < form.head or not _is_name(head[: form.name], form):
        return False
    (size,) = struct.unpack(form.size, head[form.name :])
    return 0 <= size <= view.size - place


def _is_name(name: bytes, form: _Form) -> bool:
    if chunked_form(name + bytes(4) + b"WAVE") is not None:
        return False  # another file begins
    return all(0x20 <= byte < 0x7F for byte in name[:4])


def _au(view: FileView, start: int) -> tuple[_Found | None, int]:
    head = view.at(start, 12)
    order = ">II" if head[:4] == b".snd" else "<II"
    if len(head) < 12:
        return None, view.size
    offset, declared = struct.unpack(order, head[4:])
    body = start + offset
    if body >= view.size:
        return None, view.size
    rest = view.size - body
    if declared == 0 or declared > rest:
        return _Found(body, view.size, declared, finished=declared == _UNKNOWN_4), view.size
    return _Found(body, body + declared, declared, finished=True), body + declared


def _part(view: FileView, start: int, found: _Found, end: int, form: _Form | str) -> Part:
    """The recording, with the size of its samples as it is."""
    size = found.end - found.start
    if found.declared == size:
        return Part(((start, end),))
    if isinstance(form, str):
        order = ">I" if view.at(start, 4) == b".snd" else "<I"
        fixed = struct.pack(order, min(size, _UNKNOWN_4))
        return Part(((start, start + 8), fixed, (start + 12, end)))
    count = struct.calcsize(form.size)
    field = found.start - count
    wide = start + 12
    if view.at(start, 4) in (b"RF64", b"BW64") and view.at(wide, 4) == b"ds64":
        # the size stands in a chunk of its own, of 64 bits
        declared = (struct.pack("<Q", size), (wide + 24, field), struct.pack("<I", _UNKNOWN_4))
        return Part(((start, wide + 16), *declared, (found.start, end)))
    most = _UNKNOWN_4 if count == 4 else _UNKNOWN_8 >> 1
    fixed = struct.pack(form.size, min(size + (form.head if form.inclusive else 0), most))
    return Part(((start, field), fixed, (found.start, end)))


def _unfinished(found: _Found) -> str:
    says = f"{found.declared} bytes of samples, and {found.end - found.start} are there"
    return f"its header was not finished (it says {says}), so it is read to the end of the file"


def _left_over(view: FileView, end: int) -> list[str]:
    while length := tag_length(view, end):
        end += length
    rest = view.size - end
    if rest <= _NEGLIGIBLE or not view.at(end, _NEGLIGIBLE).strip(b"\0"):
        return []
    return [f"{rest} bytes behind the samples that its header tells of were not read"]
