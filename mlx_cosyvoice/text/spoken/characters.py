"""Characters that stand for others, and those that are not spoken."""

from __future__ import annotations

import re

from mlx_cosyvoice.text.spoken.tables import tables, words

_FULL_WIDTH = {code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))}
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
_REPLACED = str.maketrans(
    {chr(code): chr(other) for code, other in _FULL_WIDTH.items()}
    | words(tables("signs")["same"])
    | {"\uff1d": "="}
    | {chr(0x2160 + index): name for index, name in enumerate(_ROMAN)}
    | {chr(0x2460 + index): f" {index + 1} " for index in range(20)}
)
_VULGAR = words(tables("signs")["fractions"])
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
