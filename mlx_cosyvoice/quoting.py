"""What messages repeat of a file: one line, short, and nothing that commands a terminal."""

from __future__ import annotations

from reprlib import Repr

#: Integers of more bits are described, not written out: Python refuses to, and nobody reads them.
_MOST_BITS = 128


class _Short(Repr):
    """`repr` of which each part is bounded before it is made."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.maxstring = self.maxother = most
        self.maxlevel = 3

    def repr_str(self, x: str, level: int) -> str:
        return repr(x) if len(x) <= self.maxstring else f"{x[: self.maxstring]!r}..."

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x) if len(x) <= self.maxstring else f"{x[: self.maxstring]!r}..."

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() <= _MOST_BITS else f"an integer of {x.bit_length()} bits"


def quoted(value: object, most: int = 80) -> str:
    """As `repr`, but of a hostile value too at most about `most` characters, in bounded time."""
    text = _Short(most).repr(value)
    return text if len(text) <= 2 * most else f"{text[: 2 * most]}..."


def plain(text: str, most: int = 200) -> str:
    """`text` itself where it is short and printable; else cut, with escapes for what cannot be printed."""
    cut = text[:most]
    if not cut.isprintable():
        cut = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in cut)
    return cut if len(text) <= most and len(cut) <= most else f"{cut[:most]}..."
