"""Fractions, ranges, scores, signs of arithmetic and minus."""

from __future__ import annotations

import re

from mlx_cosyvoice.text.spoken.number import NUMBER, read
from mlx_cosyvoice.text.spoken.speaker import Speaker

_MIXED = re.compile(r"(?a)(?<![\w.,/])(\d{1,4}) (\d{1,2})/(\d{1,3})(?![\w/]|[.,]\d)")
_PART = re.compile(r"(?a)(?<![A-Za-z0-9_.,/])(\d{1,3})/(\d{1,3})(?![0-9_/%]|[.,]\d)")
_SCORE = re.compile(r"(?a)(?<![\d:.,])(\d{1,4}):(\d{1,7}(?:\.\d{1,4})?)(?![\d:]|[.,]\d)")
_DASH = "[-\u2010\u2011\u2012\u2013\u2014\u2212~\uff5e\u301c]"
_RANGE = re.compile(rf"(?a)(?<![A-Za-z0-9_.,\u2212-])({NUMBER})\s?{_DASH}\s?({NUMBER})(?!\s?{_DASH}?\d)(?![.,]\d)")
_MINUS = re.compile(rf"(?a)(?<![\w)\]%.\u2212-])[-\u2212\u2013]({NUMBER})")
_SUBTRACTED = re.compile(r"(?a)(?<=[\w)]) [-\u2212\u2013] (?=[\d(])|(?<=\d)-(?=\d)")
_POWER = re.compile(r"(?a)(?<=[\w)])\^\(?([-\u2212]?)(\d{1,6})\)?")
_RAISED = re.compile("(?<=[\\w)])([\u207b\u00b9\u00b2\u00b3\u2070\u2074-\u2079]+)")
_RAISED_DIGITS = str.maketrans("\u207b\u00b9\u00b2\u00b3\u2070\u2074\u2075\u2076\u2077\u2078\u2079", "-1230456789")
_ROOT = re.compile("(?a)\u221a\\s?(?=[\\w(])")
_ABOUT = re.compile("(?<![\\w~])[~\uff5e\u2248]\\s?(?=[$\u20ac\u00a3]?\\s?\\d)")
_TIMES_MORE = re.compile(r"(?a)(?<![\w.,])(\d+(?:[.,]\d+)?)\s?[x\u00d7](?![\w])")

#: Signs between two operands.
_BETWEEN = (
    (re.compile(r"(?a)\s*(?:<=|\u2264|=<)\s*(?=[\w(-])"), "less_equal"),
    (re.compile(r"(?a)\s*(?:>=|\u2265)\s*(?=[\w(-])"), "greater_equal"),
    (re.compile(r"(?a)\s*(?:!=|\u2260)\s*(?=[\w(-])"), "not_equal"),
    (re.compile(r"(?a)\s*\u2248\s*(?=[\w(-])"), "approximately"),
    (re.compile(r"(?a)(?<=[\w)\]])\s*={1,2}\s*(?=[\w(+\u2212-])"), "equals"),
    (re.compile(r"(?a)(?<=[\w)])\s*\u00b1\s*(?=\w)|(?<!\w)\u00b1\s?(?=\d)"), "plusminus"),
    (re.compile(r"(?a)(?<=[\d)])\s?\+\s?(?=[\w(])|(?<=\w) \+ (?=[\w(])|(?<!\w)\+(?=\d)"), "plus"),
    (re.compile(r"(?a)(?<=[\w)])\s?[\u00f7]\s?(?=[\w(])|(?<=\d) / (?=\d)"), "divided"),
    (re.compile(r"(?a)(?<=[\w)])\s?[\u00d7\u22c5]\s?(?=[\w(])|(?<=[\w)]) \* (?=[\w(])"), "times"),
    (re.compile(r"(?a)(?<=\w)\s?<\s?(?=[\d-])|(?<=\w) < (?=\w)|(?<!\w)<\s?(?=\d)"), "less"),
    (re.compile(r"(?a)(?<=\w)\s?>\s?(?=[\d-])|(?<=\w) > (?=\w)|(?<!\w)>\s?(?=\d)"), "greater"),
)


def spell(text: str, speaker: Speaker) -> str:
    """`text` with what stands between and before numbers in words; the numbers of a range or fraction too."""
    text = speaker.replaced(_MIXED, text, lambda found: speaker.mixed(*map(int, found.groups())))
    text = speaker.replaced(_PART, text, lambda found: _part(speaker, found[1], found[2]))
    text = speaker.replaced(_SCORE, text, lambda found: speaker.score(speaker.whole(found[1]), speaker.plain(found[2])))
    text = _operators(text, speaker)
    text = speaker.replaced(_MINUS, text, lambda found: speaker.minus(_number(speaker, found[1])))
    return text


def about(text: str, speaker: Speaker) -> str:
    """`text` with ~ before an amount in words: before the amounts are."""
    word = speaker.signs["about"]
    return _ABOUT.sub(word if speaker.glued else f"{word} ", text)


def _operators(text: str, speaker: Speaker) -> str:
    def between(pattern: re.Pattern[str], sign: str, text: str) -> str:
        return pattern.sub(speaker.between(sign), text) if sign in speaker.signs else text

    text = between(_ROOT, "root", text)
    text = speaker.replaced(_RAISED, text, lambda found: _power(speaker, found[1].translate(_RAISED_DIGITS)))
    text = speaker.replaced(_POWER, text, lambda found: _power(speaker, found[1].replace("\u2212", "-") + found[2]))
    text = speaker.replaced(_TIMES_MORE, text, lambda found: _times_more(speaker, found[1]))
    if "=" in text:
        text = between(_SUBTRACTED, "minus", text)
    text = speaker.replaced(_RANGE, text, lambda found: speaker.range(found[1], found[2]))
    for pattern, sign in _BETWEEN:
        text = between(pattern, sign, text)
    return text


def _times_more(speaker: Speaker, written: str) -> str | None:
    word = speaker.signs.get("fold")
    return speaker.joined((_number(speaker, written), word)) if word else None


def _number(speaker: Speaker, written: str) -> str:
    return speaker.number(read(written, decimal_comma=speaker.decimal_comma))


def _part(speaker: Speaker, numerator: str, denominator: str) -> str | None:
    if numerator.startswith("0") or denominator.startswith("0"):
        return None
    return speaker.part(int(numerator), int(denominator))


def _power(speaker: Speaker, exponent: str) -> str:
    if exponent in ("2", "3"):
        return speaker.signs["squared" if exponent == "2" else "cubed"]
    words = speaker.cardinal(int(exponent.lstrip("-") or 0))
    return speaker.joined((speaker.signs["power"], speaker.minus(words) if exponent.startswith("-") else words))
