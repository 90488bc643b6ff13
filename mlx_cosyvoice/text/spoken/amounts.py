"""Money, and numbers with units."""

from __future__ import annotations

import functools
import re

from mlx_cosyvoice.text.spoken.number import NUMBER, read
from mlx_cosyvoice.text.spoken.speaker import Speaker
from mlx_cosyvoice.text.spoken.tables import any_of, tables, words

#: Signs of money to codes of currencies.
CODES = words(tables("signs")["currencies"])
_SIGN = any_of(CODES)
_TO = r"\s?[-\u2013\u2014~\uff5e]\s?"
_MINUS = r"(?:(?<![\w)\].%])[-\u2212+](?=[\d$\u20ac\u00a3\u00a5]))?"


@functools.cache
def _patterns(speaker: Speaker) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    scale = rf"(?:[ \u00a0-]?({any_of(speaker.scales)})(?![A-Za-z]))" if speaker.scales else r"(?:(\Z.))"
    before = re.compile(
        rf"(?a)({_MINUS})(?<![A-Za-z$])({_SIGN})(?=[ \d])[ \u00a0]?({NUMBER})"
        rf"(?:{_TO}(?:\2)?({NUMBER})(?![\d%-]))?{scale}?"
    )
    after = re.compile(
        rf"(?a)(?<![A-Za-z0-9_.,])({_MINUS})({NUMBER})(?:{_TO}({NUMBER}))?{scale}?"
        rf"[ \u00a0\u202f]?({_SIGN})(?![A-Za-z0-9])"
    )
    unit = re.compile(
        rf"(?a)(?<![A-Za-z0-9_.,])({_MINUS})({NUMBER})(?:[ \u00a0]?(?:{any_of(speaker.units)})?{_TO}({NUMBER}))?"
        rf"[ \u00a0\u2009\u202f-]?({any_of(speaker.units)})"
        r"(?![A-Za-z0-9_\u00c0-\u024f\u00b2\u00b3/]|-[A-Za-z]|'[a-z])(?:\.(?=\s+[a-z]))?"
    )
    return before, after, unit


def spell(text: str, speaker: Speaker) -> str:
    """`text` with amounts of money and of units in words."""
    before, after, unit = _patterns(speaker)
    text = speaker.replaced(
        before, text, lambda found: _money(speaker, found[1], found[3], found[4], found[5], found[2])
    )
    text = speaker.replaced(
        after, text, lambda found: _money(speaker, found[1], found[2], found[3], found[4], found[5])
    )
    return speaker.replaced(unit, text, lambda found: _measure(speaker, *found.groups()))


def _money(
    speaker: Speaker, sign_before: str, first: str, last: str | None, scale: str | None, sign: str
) -> str | None:
    code = CODES[sign]
    if code not in speaker.currencies:
        return None
    numbers = [read(one, decimal_comma=_comma(one, speaker)) for one in (first, last) if one is not None]
    spoken = speaker.money(numbers[-1], code, scale or "")
    if len(numbers) > 1:
        spoken = speaker.span(speaker.number(numbers[0]), spoken)
    return _signed(speaker, sign_before, spoken)


def _signed(speaker: Speaker, sign: str, spoken: str) -> str:
    if sign == "+":
        return speaker.joined((speaker.signs["plus"], spoken))
    return speaker.minus(spoken) if sign else spoken


def _comma(written: str, speaker: Speaker) -> bool:
    """A price of three decimals is none: 1.500 is a thousand and a half, whatever the language."""
    alone = re.fullmatch(r"[1-9]\d{0,2}([.,])\d{3}", written)
    return alone[1] == "." if alone else speaker.decimal_comma


def _measure(speaker: Speaker, sign_before: str, first: str, last: str | None, unit: str) -> str:
    numbers = [read(one, decimal_comma=speaker.decimal_comma) for one in (first, last) if one is not None]
    spoken = speaker.measure(numbers[0], unit) if last is None else speaker.measures(numbers[0], numbers[1], unit)
    return _signed(speaker, sign_before, spoken)
