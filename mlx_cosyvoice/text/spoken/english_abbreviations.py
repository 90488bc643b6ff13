"""English abbreviations, initials, Roman numerals and dates with names of months."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlx_cosyvoice.text.spoken import roman
from mlx_cosyvoice.text.spoken.english_words import before_numbers
from mlx_cosyvoice.text.spoken.initials import without_dots
from mlx_cosyvoice.text.spoken.tables import any_of, tables, words

if TYPE_CHECKING:
    from mlx_cosyvoice.text.spoken.english import English

_PLAIN, _BEFORE_NUMBER = (words(tables("en")[name]) for name in ("abbreviations", "before_numbers"))
MONTHS = tables("en")["months"].split()
#: Where a sentence may end with it, its full stop stays.
_MAY_END = frozenset(
    ("Jr.", "Sr.", "Co.", "Inc.", "Ltd.", "Corp.", "Ave.", "Blvd.", "Rd.", "Ph.D.", "etc.", "et al.", "Dept.", "dept.")
)
#: After a number "min." are minutes.
_ABBREVIATION = re.compile(rf"(?<![\w.])(?!(?<=\d )min\.)(?:{any_of(_PLAIN)})(?![\w.])(,?)")
_NUMBERED = re.compile(rf"(?<![\w.])({any_of(_BEFORE_NUMBER)})\s?(?=\d)")
_SAINT = re.compile(r"(?<![\w.])St\.\s+(?=[A-Z])")
_STREET = re.compile(r"(?<=[A-Za-z] )St\.(?=\s*(?:[,;]|$|\s[a-z]))")
_HALF_DAY = re.compile(r"(?<=[\s\d])([ap])\.m\.(?=(\s+[A-Z])|(\s*$))?")

_MONTH = {month[:3]: month for month in MONTHS} | {month: month for month in MONTHS} | {"Sept": "September"}
_NAME = "|".join(sorted(_MONTH, key=len, reverse=True))
_DAY = r"(3[01]|[12]\d|0?[1-9])"
_YEAR = r"(?:(,)?\s+((?:1\d|20)\d\d)(?![\d,.]\d|\w))?"
_MONTH_DAY = re.compile(rf"\b({_NAME})\.?\s+{_DAY}(?:st|nd|rd|th)?(?![\w:/%]|[.,]\d|\s?[ap]\.?m\b){_YEAR}")
_DAY_MONTH = re.compile(
    rf"(?<![\w.,:/$-])(the )?{_DAY}(?:st|nd|rd|th)?(?: of)? ({_NAME})\b(?:\.(?=\s+\d))?(?!-){_YEAR}"
)
_SHORT_MONTH = re.compile(r"\b(Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.(?=\s+\d{4})")
_MONTH_SPAN = re.compile(rf"\b({_NAME})\.? {_DAY}\s?[-\u2013]\s?{_DAY}(?!\w)")


def expand(text: str, speaker: English) -> str:
    """`text` with abbreviations in full, initials without full stops, Roman numerals and dates in words."""
    text = before_numbers(text)
    text = _NUMBERED.sub(lambda found: f"{_BEFORE_NUMBER[found[1]]} ", text)
    text = _STREET.sub("Street", text)
    text = _SAINT.sub("Saint ", text)
    text = _ABBREVIATION.sub(_full, text)
    text = _dates(text, speaker)
    text = roman.spell(text, speaker)
    return text


def after_times(text: str) -> str:
    """What must wait for the times of day: a.m. and p.m. alone, and initials."""
    return without_dots(
        _HALF_DAY.sub(lambda found: found[1].upper() + "M" + ("." if found[2] or found[3] else ""), text)
    )


def _full(found: re.Match[str]) -> str:
    short = found[0].removesuffix(",")
    full = _PLAIN[short]
    after = found.string[found.end() : found.end() + 3]
    ends = short in _MAY_END and not found[1] and (not after.strip() or (after[:1] == " " and after[1:2].isupper()))
    if short in ("Jr.", "Sr.", "Co.", "Inc.", "Ltd.", "Corp.", "Ph.D.") and after.strip():
        ends = False
    return full + ("." if ends else "") + found[1]


def _dates(text: str, speaker: English) -> str:
    def year(found: re.Match[str], group: int) -> str:
        comma, written = found[group], found[group + 1]
        return f"{comma or ''} {speaker.year(int(written))}" if written else ""

    def month_day(found: re.Match[str]) -> str:
        return f"{_MONTH[found[1]]} {speaker.ordinal(int(found[2]))}{year(found, 3)}"

    def day_month(found: re.Match[str]) -> str:
        return f"the {speaker.ordinal(int(found[2]))} of {_MONTH[found[3]]}{year(found, 4)}"

    text = _MONTH_SPAN.sub(
        lambda found: f"{_MONTH[found[1]]} {speaker.ordinal(int(found[2]))} to {speaker.ordinal(int(found[3]))}", text
    )
    text = _DAY_MONTH.sub(day_month, text)
    text = _MONTH_DAY.sub(month_day, text)
    return _SHORT_MONTH.sub(lambda found: _MONTH[found[1][:3]], text)
