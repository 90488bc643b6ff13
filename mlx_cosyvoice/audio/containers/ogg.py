"""Ogg (Vorbis, Opus): a file may be a chain of streams, of which libsndfile reads the first."""

from __future__ import annotations

from itertools import pairwise

from mlx_cosyvoice.audio.containers.layout import FileView, Layout, Part

_HEAD = 27
_FIRST_PAGE = 2
#: Junk between pages that is not worth a word, in bytes.
_NEGLIGIBLE = 4096
#: How far behind junk another page is looked for, in bytes.
_FARTHEST = 16 << 20


def ogg_layout(view: FileView) -> Layout:
    """A part begins wherever a first page follows a page that is none. Streams side by side stay together."""
    starts, place, skipped = [], 0, 0
    first = False
    while place < view.size:
        head = view.at(place, _HEAD + 255)
        if head[:4] != b"OggS" or len(head) < _HEAD:
            found = view.find(b"OggS", place + 1, min(view.size, place + _FARTHEST))
            skipped += (view.size if found < 0 else found) - place
            if found < 0:
                break
            place = found
            continue
        begins = bool(head[5] & _FIRST_PAGE)
        if begins and not first:
            starts.append(place)
        first = begins
        place += _HEAD + head[26] + sum(head[_HEAD : _HEAD + head[26]])
    parts = tuple(Part((span,)) for span in pairwise([*starts, min(place, view.size)]))
    remark = f"{skipped} bytes within it are not Ogg and were left out: is it damaged?"
    return Layout(parts or (Part(((0, view.size),)),), (remark,) if skipped > _NEGLIGIBLE else ())
