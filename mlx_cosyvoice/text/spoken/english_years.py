"""Years and decades, distinguished from other numbers by what stands around them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlx_cosyvoice.text.spoken.english import English

_DECADE = re.compile(r"(?<![\w.,$])['\u2019\u2018]?((?:1\d|20)\d0|[1-9]0)(?:['\u2019]?s)\b")
_OF_DECADE = re.compile(r"(?i)\b(?:the|early|late|mid|his|her|their|my|your|our)[ -]$")
_SHORT = re.compile(r"(?<!\w)['\u2019\u2018](\d\d)(?![\w'\u2019]|[.,]\d)")
_SEASON = re.compile(r"(?<![\w.,$/])((?:1\d|20)\d\d)/(\d\d)(?![\w/]|[.,]\d)")
_YEAR = re.compile(r"(?<![\w.,$-])((?:1[1-9]|20)\d\d|10\d\d)(?![\w%]|[.,]\d)")

_BEFORE = re.compile(
    r"(?i)\b(?:in|since|until|till|before|after|during|from|by|of|year|early|late|mid|around|circa|spring|summer|"
    r"autumn|fall|winter|"
    r"jan\w*|feb\w*|march|april|may|june|july|aug\w*|sep\w*|oct\w*|nov\w*|dec\w*|born|died|founded|copyright|"
    r"\u00a9|and|to|through|"
    r"class|election|olympics|edition|census|s)[ (]+$"
)
_STRONG = re.compile(
    r"(?i)\b(?:in|since|until|till|year|early|late|mid|circa|spring|summer|autumn|fall|winter|january|february|"
    r"march|april|may|june|july|"
    r"august|september|october|november|december|born|died|founded|copyright|\u00a9)[ (]+$"
)
_ERA = re.compile(r"\s?(?:AD|BC|BCE|CE|A\.D\.|B\.C\.)\b")
_COUNTED = re.compile(
    r"[ -]+(?:(?!(?:is|was|has|as|this|his|its|does|us|years?|less|plus|unless|across|series|always|perhaps|"
    r"news)\b)[a-z]+s\b|people\b|"
    r"men\b|women\b|children\b|million\b|billion\b|thousand\b|percent\b|times\b|(?:new|more|other|different|"
    r"active|square|cubic|"
    r"extra|additional|old|young|small|large|good|free|local|foreign|paid|unique|daily) [a-z]+s\b|meter\b|mile\b|"
    r"dollar\b|word\b|"
    r"page\b|by\b|point\b|watt\b|calorie\b)"
)


def spell_decades(text: str, speaker: English) -> str:
    """`text` with decades in words: before units, since 30s may also be seconds."""
    return speaker.replaced(_DECADE, text, lambda found: _decade(found, speaker))


def spell_years(text: str, speaker: English) -> str:
    """`text` with years in words; other numbers stay."""
    text = speaker.replaced(_SHORT, text, lambda found: speaker.year(1900 + int(found[1]))[len("nineteen ") :])
    text = speaker.replaced(_SEASON, text, lambda found: span(found[1], found[2], speaker))
    return speaker.replaced(_YEAR, text, lambda found: _year(found, speaker))


def span(first: str, last: str, speaker: English) -> str | None:
    """Two years, the second perhaps of two digits, in words; None if they are none."""
    if not re.fullmatch(r"(?:1\d|20)\d\d", first):
        return None
    if re.fullmatch(r"(?:1\d|20)\d\d", last) and int(first) <= int(last):
        return speaker.span(speaker.year(int(first)), speaker.year(int(last)))
    if len(last) == 2 and int(last) > int(first[2:]):
        short = speaker.cardinal(int(last)) if last[0] != "0" else f"oh {speaker.cardinal(int(last))}"
        return speaker.span(speaker.year(int(first)), short)
    return None


def _decade(found: re.Match[str], speaker: English) -> str | None:
    before = found.string[max(0, found.start() - 12) : found.start()]
    if len(found[1]) == 2 and found[0][:1].isdigit() and not _OF_DECADE.search(before):
        return None
    if re.search("['\u2019]s$", found[0]) and not _OF_DECADE.search(before):
        return f"{speaker.year(int(found[1]))}'s" if len(found[1]) == 4 else None
    return speaker.decade(int(found[1]))


def _year(found: re.Match[str], speaker: English) -> str | None:
    value = int(found[1])
    text = found.string
    before, after = text[max(0, found.start() - 16) : found.start()], text[found.end() : found.end() + 30]
    counted = _COUNTED.match(after) is not None
    if _ERA.match(after) or (_STRONG.search(before) and not counted):
        return speaker.year(value)
    if counted:
        return None
    if 1900 <= value <= 2099 or (value >= 1100 and _BEFORE.search(before)):
        return speaker.year(value)
    return None
