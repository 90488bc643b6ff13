"""English, as in the United States: 1,500 and 3.14, May third, half past not said."""

from __future__ import annotations

import re

from mlx_cosyvoice.text.spoken import english_words
from mlx_cosyvoice.text.spoken.english_abbreviations import after_times, expand
from mlx_cosyvoice.text.spoken.english_years import span, spell_decades, spell_years
from mlx_cosyvoice.text.spoken.number import NUMBER, Number
from mlx_cosyvoice.text.spoken.speaker import Moment, Speaker

_PARTS = {2: ("half", "halves"), 4: ("quarter", "quarters")}
_ORDINAL = re.compile(r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d{1,12})(?:st|nd|rd|th)\b", re.IGNORECASE)
_NUMBER = re.compile(NUMBER)
_FEET = re.compile(r"(?<![\w.,])(\d{1,2})['\u2032\u2019] ?(\d{1,2})(?:[\"\u2033\u201d]|'')(?!\w)")
_INCHES = re.compile(r"(?<![\w.,])(\d{1,3}(?:\.\d{1,2})?)(?:\u2033|\"(?!\w))")
_COMMA_LIST = re.compile(r"(?<![\w.,])\d+(?:,\d+){2,20}(?![\w,])")
_TWO_OF_A_LIST = re.compile(r"(?<=s )(\d{1,3}),(\d{1,2})(?= (?:and|or|&) \d)")


class English(Speaker):
    code = "en"
    decimal_comma = False
    plural = "s"

    def prepare(self, text: str) -> str:
        text = expand(text, self)
        text = _FEET.sub(lambda found: self._feet(found), text)
        text = _INCHES.sub(_inches, text)
        text = _COMMA_LIST.sub(_apart, text)
        return _TWO_OF_A_LIST.sub(r"\1, \2", text)

    def after_times(self, text: str) -> str:
        text = spell_decades(after_times(text), self)
        return self.replaced(_ORDINAL, text, lambda found: self.ordinal(int(found[1].replace(",", ""))))

    def finish(self, text: str) -> str:
        text = spell_years(text, self)
        return self.replaced(_NUMBER, text, lambda found: self.plain(found[0]))

    def cardinal(self, value: int) -> str:
        return super().cardinal(value).replace(",", "")

    def year(self, value: int) -> str:
        if 2000 <= value <= 2009:
            return self.cardinal(value)
        return super().year(value).replace(",", "")

    def decade(self, value: int) -> str:
        """1980 as nineteen eighties, 80 as eighties."""
        words = self.year(value) if value >= 1000 else self.cardinal(value)
        return words[:-1] + "ies" if words.endswith("y") else words + "s"

    def range(self, first: str, last: str) -> str:
        return span(first, last, self) or super().range(first, last)

    def part(self, numerator: int, denominator: int) -> str:
        if (numerator, denominator) in ((50, 50), (9, 11), (20, 20)):
            return f"{self.cardinal(numerator)} {self.cardinal(denominator)}"
        if denominator == 1 or numerator > 2 * denominator or denominator > 100:
            return f"{self.cardinal(numerator)} over {self.cardinal(denominator)}"
        one, many = _PARTS.get(denominator) or (self.ordinal(denominator), self.ordinal(denominator) + "s")
        return f"{self.cardinal(numerator)} {one if numerator == 1 else many}"

    def mixed(self, value: int, numerator: int, denominator: int) -> str:
        part = self.part(numerator, denominator).replace("one half", "a half")
        return f"{self.cardinal(value)} and {part}"

    def clock(self, moment: Moment) -> str:
        words = [self.cardinal(moment.hour)]
        if moment.minute:
            words.append(f"oh {self.cardinal(moment.minute)}" if moment.minute < 10 else self.cardinal(moment.minute))
        elif moment.minute == 0 and not moment.half and not moment.second:
            words.append("hundred" if moment.hour > 12 or moment.hour == 0 else "o'clock")
        if moment.second:
            words.append(f"and {self.cardinal(moment.second)} seconds")
        return " ".join([*words, moment.half.upper()]).strip()

    def date(self, year: int | None, month: int, day: int) -> str:
        words = f"{self.months[month - 1]} {self.ordinal(day)}"
        return words if year is None else f"{words}, {self.year(year)}"

    def money(self, number: Number, currency: str, scale: str) -> str:
        cents = english_words.CENTS.get(currency)
        if scale or not cents or len(number.fraction) > 2 or not number.fraction.strip("0"):
            return super().money(number, currency, scale)
        count = int(number.fraction.ljust(2, "0"))
        words = f"{self.cardinal(count)} {cents[count != 1]}"
        if not number.value:
            return words
        return f"{super().money(Number(number.whole), currency, '')} and {words}"

    def tidy(self, text: str) -> str:
        return english_words.tidy(text)

    def _feet(self, found: re.Match[str]) -> str:
        inches = int(found[2])
        return f"{self.cardinal(int(found[1]))} foot {self.cardinal(inches) if inches else ''}".rstrip()


def _inches(found: re.Match[str]) -> str:
    """A double quote after a number, unless one is open that it closes."""
    if found[0].endswith('"') and found.string.count('"', 0, found.start()) % 2:
        return found[0]
    return f"{found[1]} inch" + ("" if found.string[found.end() : found.end() + 1] == " " else "es")


def _apart(found: re.Match[str]) -> str:
    """1,2,3 is a list where it is no number with thousands."""
    grouped = re.fullmatch(r"\d{1,3}(?:,\d{3})+", found[0])
    return found[0] if grouped else found[0].replace(",", ", ")
