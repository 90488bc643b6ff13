"""German: 1.500 and 2,5, dates with dots, 15:30 Uhr."""

from __future__ import annotations

import re

from mlx_cosyvoice.text.spoken.number import NUMBER, Number
from mlx_cosyvoice.text.spoken.speaker import Moment, Speaker
from mlx_cosyvoice.text.spoken.tables import any_of, tables, words

_ABBREVIATIONS = words(tables("de")["abbreviations"])
_ABBREVIATION = re.compile(rf"(?<![\w.])(?:{any_of(_ABBREVIATIONS)})(?!\w)")
_STREET = re.compile(r"(?<=[a-zäöüß])str\.(?=\s)")
_PAGE = re.compile(r"(?<!\w)S\.\s?(?=\d)")
_MONTHS = any_of(tables("de")["months"].split())
_DAY_MONTH = re.compile(rf"(?a)(?<![\w.,])(\d{{1,2}})\.(?=\s?(?:{_MONTHS})(?!\w))")
_ORDINAL = re.compile(
    r"(?a)\b((?i:der|die|das|dem|den|des|am|im|vom|zum|zur|beim|einen|einem|einer|eine|ein|ihr|sein|ihren|seinen|"
    r"jeder|jedes|jeden))"
    r" (\d{1,3})\.(?=\s+[A-Za-zÄÖÜäöü])"
)
_CLOCK = re.compile(r"(?a)(?<![\d:.,])([01]?\d|2[0-4])[:.]([0-5]\d)(?=\s?(Uhr|h)(?!\w))\s?(?:Uhr|h)")
_HOUR_SPAN = re.compile(
    r"(?a)(?<![\d:.,])(\d{1,2}(?:[:.]\d\d)?)(?: ?Uhr)?\s?[-\u2013]\s?(?=\d{1,2}(?:[:.]\d\d)?\s?Uhr)"
)
_HOUR = re.compile(r"(?a)(?<![\d:.,])([01]?\d|2[0-4])(?=\s?Uhr\b)")
_DECADE = re.compile(r"(?a)(?<![\w.,])((?:1[1-9]|20)\d0|[1-9]0)er(?!\w)(?:\s?-?Jahre(n?))?")
_YEAR = re.compile(
    r"(?a)(?<![\w.,])(1[1-9]\d\d)(?![\w%.,]\d|\s?(?:Euro|€|Meter|Menschen|Kilometer|Stück|Mark|Einwohner|Gramm))(?!\w)"
)
_NUMBER = re.compile(rf"(?a)({NUMBER})(?=(?:\s([A-Za-zÄÖÜäöüß]+))?)")
_FEMININE = re.compile(r"(?:e|ung|heit|keit|schaft|tät|ion|frau|nacht|stadt|art|zahl|uhr|woche)$", re.IGNORECASE)
#: After these the ordinal ends in -n.
_WEAK = frozenset(tables("de")["weak"].split())


class German(Speaker):
    code = "de"

    def prepare(self, text: str) -> str:
        text = _ABBREVIATION.sub(lambda found: _ABBREVIATIONS[found[0]] + _stop(found), text)
        text = _HOUR_SPAN.sub(r"\1 bis ", text)
        text = _PAGE.sub("Seite ", _STREET.sub("straße", text))
        text = _CLOCK.sub(lambda found: self.clock(Moment(int(found[1]), int(found[2]))), text)
        text = _HOUR.sub(lambda found: "ein" if int(found[1]) == 1 else self.cardinal(int(found[1])), text)
        text = _DAY_MONTH.sub(lambda found: self._day(found), text)
        text = _ORDINAL.sub(lambda found: f"{found[1]} {self._ordinal(int(found[2]), found[1])}", text)
        return text

    def after_times(self, text: str) -> str:
        return self.replaced(_DECADE, super().after_times(text), self._decade)

    def finish(self, text: str) -> str:
        text = self.replaced(_YEAR, text, lambda found: self.year(int(found[1])))
        return self.replaced(_NUMBER, text, lambda found: self._plain(found[1], found[2] or ""))

    def tidy(self, text: str) -> str:
        return re.sub(r"\s?&\s?", " und ", text)

    def cardinal(self, value: int) -> str:
        words = super().cardinal(value)
        return words.removeprefix("ein") if words.startswith(("einhundert", "eintausend")) and value < 2000 else words

    def counted(self, value: int, noun: str) -> str:
        if value == 1:
            return "eine" if _FEMININE.search(noun) else "ein"
        return self.cardinal(value)

    def part(self, numerator: int, denominator: int) -> str:
        if denominator == 2:
            return "ein halb" if numerator == 1 else f"{self.cardinal(numerator)} halbe"
        if denominator in (1, 100) or denominator > 20:
            return f"{self.cardinal(numerator)} durch {self.cardinal(denominator)}"
        return f"{self.counted(numerator, '')} {self._ordinal(denominator, '')[:-1].capitalize()}el"

    def clock(self, moment: Moment) -> str:
        words = f"{'ein' if moment.hour == 1 else self.cardinal(moment.hour)} Uhr"
        return f"{words} {self.cardinal(moment.minute)}" if moment.minute else words

    def date(self, year: int | None, month: int, day: int) -> str:
        words = f"{self._ordinal(day, 'am')} {self.months[month - 1]}"
        return words if year is None else f"{words} {self.year(year)}"

    def money(self, number: Number, currency: str, scale: str) -> str:
        if scale or len(number.fraction) != 2 or not int(number.fraction) or currency not in ("EUR", "USD"):
            return super().money(number, currency, scale)
        return (
            f"{self.whole(number.whole, 'Euro')} {self.currencies[currency][0]} {self.cardinal(int(number.fraction))}"
        )

    def _plain(self, written: str, noun: str) -> str:
        return self.counted(1, noun) if written == "1" and noun[:1].isupper() else self.plain(written)

    def _day(self, found: re.Match[str]) -> str:
        before = re.findall(r"\w+", found.string[max(0, found.start() - 12) : found.start()])
        return self._ordinal(int(found[1]), before[-1] if before else "")

    def _ordinal(self, value: int, before: str) -> str:
        words = self.ordinal(value)
        if before.lower() in _WEAK:
            return words + "n"
        return words + "r" if before.lower() in ("ein", "sein", "ihr", "jeder") else words

    def _decade(self, found: re.Match[str]) -> str:
        value = int(found[1])
        words = self.year(value) if value >= 100 else self.cardinal(value)
        years = found[2]
        return f"{words}er" + ("" if years is None else f" Jahre{years}")


def _stop(found: re.Match[str]) -> str:
    """A full stop where a sentence ends with the abbreviation."""
    return "." if not found.string[found.end() :].strip() else ""
