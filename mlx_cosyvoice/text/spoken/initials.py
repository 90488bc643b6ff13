"""Initials and abbreviations of single letters: said letter by letter, without full stops."""

from __future__ import annotations

import re

_INITIALS = re.compile(
    r"(?<![^\W_\u2e80-\uffff])(?<!\.)(?:[A-Z\u00c0-\u00de]\.[ ]?){2,8}(?=[A-Z\u00c0-\u00de]?)|"
    r"(?<![^\W_\u2e80-\uffff])(?<!\.)(?:[A-Za-z]\.){2,8}"
)
_ONE = re.compile(r"(?<![^\W_\u2e80-\uffff])(?<!\.)([A-HJ-Z])\.[ ]?(?=[A-Z][a-z])")
_LAST = re.compile(r"(?<![^\W_\u2e80-\uffff])(?<!\.)((?:[A-Z]\.)+)([A-Z])(?![\w.])")


def without_dots(text: str) -> str:
    """`text` with J.K.Rowling as J K Rowling and U.S. as U S; a full stop that ends the text stays one."""
    text = _LAST.sub(lambda found: _spaced(found[1] + found[2] + "."), text)
    text = _INITIALS.sub(_letters, text)
    return _ONE.sub(r"\1 ", text)


def _letters(found: re.Match[str]) -> str:
    rest = found.string[found.end() :]
    letters = _spaced(found[0])
    if not rest.strip():
        return letters + "."
    if rest[:1].isalpha() and rest[:1].isascii():
        return letters + " "
    return letters + (" " if found[0].endswith(" ") else "")


def _spaced(initials: str) -> str:
    return " ".join(re.findall(r"[^\W\d_]", initials))
