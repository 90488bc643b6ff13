"""Columns and sizes as people read them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_GAP = "  "


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equally many cells as lines with aligned columns.

    Line breaks and what else cannot be printed become spaces: a text from a file must not command the terminal.
    """
    cells = [["".join(sign if sign.isprintable() else " " for sign in cell) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    padded = ([cell + " " * (most - width(cell)) for cell, most in zip(row, widths, strict=True)] for row in cells)
    return "\n".join(_GAP.join(row).rstrip() for row in padded)


def shorten(text: str, most: int) -> str:
    """`text`, or its beginning and "..." where it is wider than `most` columns."""
    if width(text) <= most:
        return text
    while width(text) > most - 3:
        text = text[:-1]
    return text.rstrip() + "..."


def width(text: str) -> int:
    """Columns of a terminal that `text` fills: Chinese, Japanese and Korean letters fill two."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def size(count: int) -> str:
    """A number of bytes."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
