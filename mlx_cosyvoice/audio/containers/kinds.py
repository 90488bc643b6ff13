"""Kinds of audio files by their first bytes, for those that libsndfile does not read."""

from __future__ import annotations

from mlx_cosyvoice.audio.containers.chunked import chunked_form
from mlx_cosyvoice.audio.containers.layout import FileView

#: First bytes, after how many, and what has them.
_KINDS = (
    (4, b"ftyp", "MPEG-4 audio (m4a, mp4)"),
    (0, b"\x1a\x45\xdf\xa3", "webm or Matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media audio (wma)"),
    (0, b"#!AMR", "AMR"),
    (0, b"OggS", "Ogg"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio (ape)"),
    (0, b"FLV\x01", "Flash video"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"TTA1", "True Audio"),
    (0, b"\x00\x00\x01\xba", "MPEG video"),
)
_CHUNKED = {b"RIFF": "wav", b"RIFX": "wav", b"RF64": "wav", b"BW64": "wav", b"FORM": "AIFF", b"caff": "CAF"}


def kind_of(view: FileView) -> str | None:
    """What a file is called, or None where it is not known to be audio."""
    head = view.at(0, 16)
    for place, magic, name in _KINDS:
        if head[place : place + len(magic)] == magic:
            return name
    if chunked_form(head) is not None:
        return _CHUNKED.get(head[:4], "audio")
    if len(head) >= 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "AAC"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "AVI video"
    if head[:1] == b"\x47" and view.at(188, 1) == b"\x47":
        return "MPEG transport stream"
    return None
