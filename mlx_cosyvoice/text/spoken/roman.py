"""Roman numerals, only where they surely are some."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlx_cosyvoice.text.spoken.tables import any_of, tables, words

if TYPE_CHECKING:
    from mlx_cosyvoice.text.spoken.english import English

#: The pattern of a numeral from 1 to 89, without groups of its own.
NUMERAL = r"(?=[IVXL])(?:XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_NAMES = any_of(words(tables("en")["monarchs"]))
_NOUNS = "|".join(tables("en")["numbered"].split())
_KING = re.compile(rf"\b({_NAMES}) ({NUMERAL})(?!\w|\.\w|[-'\u2019][A-Za-z]{{3}})")
_NUMBERED = re.compile(rf"\b((?i:{_NOUNS})) ({NUMERAL})(?!\w|\.\w|['\u2019][a-z])")
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50}


def spell(text: str, speaker: English) -> str:
    """`text` with the numerals of monarchs as ordinals, and of chapters, wars and the like as numbers."""
    text = _KING.sub(lambda found: _king(found, speaker), text)
    return _NUMBERED.sub(lambda found: _numbered(found, speaker), text)


def value(numeral: str) -> int:
    total = 0
    for letter, after in zip(numeral, numeral[1:] + " ", strict=True):
        one = _VALUES[letter]
        total += -one if _VALUES.get(after, 0) > one else one
    return total


def _king(found: re.Match[str], speaker: English) -> str:
    if found[2] in ("I", "V", "X", "L") and _goes_on(found):
        return found[0]
    return f"{found[1]} the {speaker.ordinal(value(found[2]))}"


def _numbered(found: re.Match[str], speaker: English) -> str:
    if found[2] == "I" and (not found[1][0].isupper() or _goes_on(found)):
        return found[0]
    return f"{found[1]} {speaker.cardinal(value(found[2]))}"


def _goes_on(found: re.Match[str]) -> bool:
    """Whether a verb may follow, to which I would be the subject."""
    after = re.match(r"\s+([a-z]+)", found.string[found.end() : found.end() + 20])
    return after is not None and after[1] not in ("of", "and", "was", "is", "to", "in", "the", "by", "has", "had")
