"""Telephone numbers, digit by digit and group by group."""

from __future__ import annotations

import re

from mlx_cosyvoice.text.spoken.speaker import Speaker

_PATTERNS = tuple(
    re.compile(pattern, re.ASCII)
    for pattern in (
        r"(?<![\w+])\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}(?![\w-])",
        r"(?<![\w-])(?:1[-. ])?\(\d{3}\) ?\d{3}[-. ]\d{4}(?![\w-])",
        r"(?<![\w.-])(?:1[-. ])?\d{3}([-. ])\d{3}\1\d{4}(?![\w-])",
        r"(?<![A-Za-z0-9_.-])(?:0\d{1,3}-\d{3,4}-\d{4}|0\d{2,4}[-/ ]\d{6,8}|[48]00-\d{3,4}-\d{3,4})(?![A-Za-z0-9_-])",
        r"(?<![A-Za-z0-9_.-])1[3-9]\d(?:-\d{4}-\d{4}| \d{4} \d{4})(?![A-Za-z0-9_-])",
        r"(?<![\w.-])\d{1,6}(?:-\d{1,8}){2,6}(?![\w-])",
        r"(?<![\w.-])0\d(?:[ .]\d\d){4}(?!\w)",
        r"(?<![\w.$\u20ac\u00a3-])\d{3}-\d{4}(?![\w-])",
    )
)
_AFTER_WORD = re.compile(
    r"(?ai)\b((?:call|dial|tel|phone|telephone|fax|text)[.:]? )(\d{3}|\d{5,8})(?![\w:/%\u00b0$]|[.,-]\d| [a-z]+s\b)"
)
_AFTER_FOREIGN_WORD = re.compile(
    r"(?i)\b((?:t[e\u00e9]l|telefon\w?|t[e\u00e9]l[e\u00e9]phone|tel[e\u00e9]fono|telefone|m[o\u00f3]vil|"
    r"ll[a\u00e1]m\w* al|appel\w* le|rufnummer|phone|call|dial)[.:]{0,2} )(\d{2,4}(?: \d{2,4}){2,5})(?![\w,.]\d)"
)
_DATE = re.compile(r"(?:1\d|20)\d\d-(?:(?:1\d|20)\d\d|\d{1,2}-\d{1,2})|\d{1,2}-\d{1,2}-(?:1\d|20)\d\d")
_DIGITS = re.compile(r"(?a)\d+")


def spell(text: str, speaker: Speaker) -> str:
    """`text` with telephone numbers in words."""
    for pattern in _PATTERNS:
        text = speaker.replaced(pattern, text, lambda found: _words(found[0], speaker))
    text = speaker.replaced(_AFTER_FOREIGN_WORD, text, lambda found: found[1] + speaker.phone(found[2].split()))
    return speaker.replaced(_AFTER_WORD, text, lambda found: found[1] + speaker.phone([found[2]]))


def _words(written: str, speaker: Speaker) -> str | None:
    groups = _DIGITS.findall(written)
    if sum(map(len, groups)) < 7 or _DATE.fullmatch(written):
        return None
    words = speaker.phone(groups)
    return speaker.joined((speaker.signs["plus"], words)) if written.startswith("+") else words
