"""Which walker knows a file."""

from __future__ import annotations

from mlx_cosyvoice.audio.containers.chunked import chunked_form, chunked_layout
from mlx_cosyvoice.audio.containers.flac import flac_layout, flac_start
from mlx_cosyvoice.audio.containers.kinds import kind_of
from mlx_cosyvoice.audio.containers.layout import FileView, Layout, Part
from mlx_cosyvoice.audio.containers.mpeg import is_mpeg, mpeg_layout
from mlx_cosyvoice.audio.containers.ogg import ogg_layout


def find_layout(view: FileView, max_seconds: float | None) -> Layout:
    """The recordings of a file, by its content.

    Args:
        view: of the file.
        max_seconds: what lies behind need not be looked at.
    """
    head = view.at(0, 16)
    if chunked_form(head) is not None:
        return chunked_layout(view)
    if head[:4] == b"OggS":
        return ogg_layout(view)
    if flac_start(view) is not None:
        return flac_layout(view)
    if kind_of(view) is None and is_mpeg(view):
        return mpeg_layout(view, max_seconds)
    return Layout((Part(((0, view.size),)),))
