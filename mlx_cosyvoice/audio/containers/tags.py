"""Names, pictures and ratings that players put before and behind recordings of any format."""

from __future__ import annotations

from mlx_cosyvoice.audio.containers.layout import FileView


def tag_length(view: FileView, place: int) -> int:
    """Bytes of the tag (ID3v1, ID3v2, APE, Lyrics3) that begins at `place`; 0 if none does."""
    head = view.at(place, 32)
    length = 0
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 0x80:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        length = 10 + size + (10 if head[5] & 0x10 else 0)
    elif head[:3] == b"TAG" and view.size - place in (128, 128 + 227):
        length = view.size - place
    elif head[:3] == b"TAG":  # an ID3v1 that another file was joined to
        length = 128
    elif head[:8] == b"APETAGEX" and len(head) == 32:
        length = 32 + (int.from_bytes(head[12:16], "little") if head[23] & 0x20 else 0)  # a header, or a footer alone
    elif head[:11] == b"LYRICSBEGIN":
        end = view.find(b"LYRICS200", place, min(view.size, place + (1 << 20)))
        length = end + 9 - place if end >= 0 else 0
    return min(length, view.size - place)
