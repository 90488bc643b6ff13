"""Characters that stand for others, and those that are not spoken."""

from __future__ import annotations

import re

_FULL_WIDTH = {code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))}
_OTHERS = {
    "\uff05": "%", "\uff04": "$", "\uff0b": "+", "\uff1d": "=", "\uff0d": "-", "\uff20": "@", "\uff03": "#",
    "\uff06": "&", "\uff0f": "/",
    "\uff0e": ".", "\u2103": "\u00b0C", "\u2109": "\u00b0F", "\u33a1": "m\u00b2", "\u33a5": "m\u00b3",
    "\u338f": "kg", "\u338e": "mg",
    "\u339d": "cm", "\u339c": "mm", "\u339e": "km", "\u33a0": "cm\u00b2", "\u33a2": "km\u00b2", "\u33c4": "cc",
    "\u2212": "-", "\uff21": "A",
    "\u00ba": "\u00ba", "\u2044": "/", "\uffe1": "\u00a3", "\u2126": "\u03a9", "\u212b": "\u00c5", "\u2160": "I",
}  # fmt: skip
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
_REPLACED = str.maketrans(
    {chr(code): chr(other) for code, other in _FULL_WIDTH.items()}
    | _OTHERS
    | {chr(0x2160 + index): name for index, name in enumerate(_ROMAN)}
    | {chr(0x2460 + index): f" {index + 1} " for index in range(20)}
)
_VULGAR = {
    "\u00bd": "1/2", "\u2153": "1/3", "\u2154": "2/3", "\u00bc": "1/4", "\u00be": "3/4", "\u2155": "1/5",
    "\u2156": "2/5", "\u2157": "3/5",
    "\u2158": "4/5", "\u2159": "1/6", "\u215a": "5/6", "\u215b": "1/8", "\u215c": "3/8", "\u215d": "5/8",
    "\u215e": "7/8",
}  # fmt: skip
_VULGAR_PATTERN = re.compile(f"(?:(\\d)\\s?)?([{''.join(_VULGAR)}])")

_EMOJI = re.compile(
    "[0-9#*]\ufe0f?\u20e3"
    "|[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2300-\u23ff\u25a0-\u25ff\u2934\u2935\u3030\u303d\u3297\u3299]"
    "[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*(?:\u200d(?=[\U0001f000-\U0001faff\u2600-\u27bf]))?"
    "|[\ufe0e\ufe0f\u00a9\u00ae\u2122]"
)
_FACES = re.compile(r"(?<![^\s])(?:[:;=8][-']?[()DPpOo|/\\3*]|<3|\^_\^|[xX]D|:-?\))(?![^\s.,!?])")
_ARROWS = re.compile("\\s*(?:[\u2190-\u21ff]|[-=]{1,2}>)\\s*")


def plain(text: str) -> str:
    """`text` in the characters that the rules know, without emoji and smileys."""
    text = _VULGAR_PATTERN.sub(lambda found: (f"{found[1]} " if found[1] else "") + _VULGAR[found[2]], text)
    text = text.translate(_REPLACED)
    text = _FACES.sub(" ", _EMOJI.sub(" ", text))
    return _ARROWS.sub(", ", text)
