"""Times of day, and dates in numbers."""

from __future__ import annotations

import re

from mlx_cosyvoice.text.spoken.speaker import Moment, Speaker

_CLOCK = r"(?<![\d:.,/])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:]|[.,]\d)"
_HALF = r"(?:[ \u00a0\u202f]?([AaPp])\.?[Mm](?:\.(?!\s+[A-Z]|$)|(?![A-Za-z]))(?:(?<=[Mm])\.(?=[^\s]))?)"
_TIMES = re.compile(rf"(?a){_CLOCK}(?:{_HALF}|\s?h(?![A-Za-z0-9]))?")
_SPAN = re.compile(rf"(?a)({_CLOCK})\s?[-\u2013\u2014~\uff5e]\s?(?=\d{{1,2}}:\d\d)")
_HOUR = re.compile(rf"(?a)(?<![\w:.,])(1[0-2]|0?[1-9]){_HALF}")
_TO_MOMENT = re.compile("(?<=[AP]M)\\s?[-\u2013\u2014]\\s?(?=[a-z])")
_HOURS = re.compile(rf"(?a)(?<![\w:.,])(1[0-2]|0?[1-9])\s?[-\u2013]\s?(?=(?:1[0-2]|[1-9])(?::[0-5]\d)?{_HALF})")

_YEAR_FIRST = re.compile(
    r"(?a)(?<![\w./-])([12]\d{3})([-/.])(\d{1,2})\2(\d{1,2})(?:T(?=\d\d:\d\d))?(?![\d./-]*\d|[A-Za-z])"
)
_YEAR_LAST = re.compile(r"(?a)(?<![\w./-])(\d{1,2})([-/.])(\d{1,2})\2((?:19|20)\d\d)(?![\d/-]|[A-Za-z]|\.\d)")
_ALWAYS = re.compile(r"(?a)(?<![\d/])24/7(?![\d/])")


def spell(text: str, speaker: Speaker) -> str:
    """`text` with times and dates in words."""
    text = speaker.replaced(_ALWAYS, text, lambda _: speaker.signs["always"])
    text = speaker.replaced(_YEAR_FIRST, text, lambda found: _date(found[1], found[3], found[4], speaker))
    text = speaker.replaced(_YEAR_LAST, text, lambda found: _short_date(found, speaker))
    to = speaker.between("to")
    text = _SPAN.sub(lambda found: f"{found[1]}{to}", text)
    text = _HOURS.sub(lambda found: f"{speaker.cardinal(int(found[1]))}{to}", text)
    text = speaker.replaced(_TIMES, text, lambda found: speaker.clock(_moment(*found.groups())))
    text = speaker.replaced(_HOUR, text, lambda found: speaker.clock(_moment(found[1], None, None, found[2])))
    return _TO_MOMENT.sub(to, text)


def _moment(hour: str, minute: str | None, second: str | None, half: str | None) -> Moment:
    name = {"a": "am", "p": "pm", "": ""}[(half or "").lower()]
    return Moment(int(hour), None if minute is None else int(minute), None if second is None else int(second), name)


def _date(year: str, month: str, day: str, speaker: Speaker) -> str | None:
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return None
    return speaker.date(int(year), int(month), int(day))


def _short_date(found: re.Match[str], speaker: Speaker) -> str | None:
    """The day comes first but in English with slashes, where it is second unless it must be first."""
    day, month = found[1], found[3]
    if (speaker.code == "en" and found[2] != "." and int(month) > 12 >= int(day)) or (
        speaker.code == "en" and found[2] == "/" and int(day) <= 12
    ):
        day, month = month, day
    return _date(found[4], month, day, speaker)
