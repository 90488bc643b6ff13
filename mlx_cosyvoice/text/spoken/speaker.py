"""How a language says numbers and signs; `speakers` has one for each language."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from mlx_cosyvoice.text.spoken.initials import without_dots
from mlx_cosyvoice.text.spoken.number import Number, read
from mlx_cosyvoice.text.spoken.tables import names, tables, words

#: A particle follows its word without a blank.
_HANGUL = re.compile("[\uac00-\ud7af]")

#: Of longer numbers the digits are said one by one.
MOST_DIGITS = 15


class Moment(NamedTuple):
    """A time of day; `half` is "am", "pm" or ""."""

    hour: int
    minute: int | None
    second: int | None = None
    half: str = ""


class Speaker:
    """What all languages share; numbers in words come from the library num2words.

    A subclass overrides what its language does otherwise; its words are in the tables of its code. No method returns a
    digit.
    """

    code: ClassVar[str]
    #: Whether a comma precedes the fraction and dots stand between thousands.
    decimal_comma: ClassVar[bool] = True
    #: Whether no blanks stand between words.
    glued: ClassVar[bool] = False
    #: What turns the name of one into that of more, where the tables have only one name.
    plural: ClassVar[str] = ""

    def __init__(self) -> None:
        self.tables = tables(self.code)
        #: Signs in words; one that is missing is left out of speech.
        self.signs = words(self.tables["signs"])
        #: A unit's sign to its name for one and for more.
        self.units = names(self.tables["units"], self.plural)
        #: A currency's code to its name for one and for more.
        self.currencies = names(self.tables["currencies"], self.plural)
        #: What follows a number of money to its word, such as M to million.
        self.scales = words(self.tables["scales"])
        self.months = self.tables.get("months", "").split()

    def prepare(self, text: str) -> str:
        """Abbreviations, dates with names of months and the like: before anything else is read."""
        return text

    def after_times(self, text: str) -> str:
        """What must not come before the times of day are read: initials, since p.m. looks like some."""
        return without_dots(text)

    def finish(self, text: str) -> str:
        """The numbers that nothing else has read."""
        return text

    def tidy(self, text: str) -> str:
        """What is only about blanks and marks: after all else."""
        return text

    def cardinal(self, value: int) -> str:
        return self._words(value, "cardinal")

    def ordinal(self, value: int) -> str:
        return self._words(value, "ordinal")

    def year(self, value: int) -> str:
        return self._words(value, "year")

    def counted(self, value: int, noun: str) -> str:
        """`value` before `noun`, which may be "": one and two have forms in many languages."""
        return self.cardinal(value)

    def digits(self, digits: str) -> str:
        """One by one."""
        return self.joined(self._digits[int(digit)] for digit in digits)

    def whole(self, digits: str, noun: str = "") -> str:
        """The number that `digits` write; leading zeros are said."""
        if len(digits) > MOST_DIGITS or (digits.startswith("0") and len(digits) > 1):
            return self.digits(digits)
        return self.counted(int(digits), noun) if noun else self.cardinal(int(digits))

    def number(self, number: Number, noun: str = "") -> str:
        if not number.fraction:
            return self.whole(number.whole, noun)
        return self.joined((self.whole(number.whole), self.signs["point"], self.fraction_digits(number.fraction)))

    def range(self, first: str, last: str) -> str:
        """From one number as written to another."""
        return self.span(self.plain(first), self.plain(last))

    def plain(self, written: str) -> str:
        """A number as written, in words; a long one without separators is no count, and said digit by digit."""
        if written.isdecimal() and len(written) >= 8 and not written.endswith("000"):
            return self.digits(written)
        return self.number(read(written, decimal_comma=self.decimal_comma))

    def fraction_digits(self, digits: str) -> str:
        """What follows the decimal mark."""
        return self.digits(digits)

    def minus(self, spoken: str) -> str:
        return self.joined((self.signs["minus"], spoken))

    def span(self, first: str, last: str) -> str:
        """From `first` to `last`, both in words."""
        return self.joined((first, self.signs["to"], last))

    def score(self, first: str, last: str) -> str:
        return self.joined((first, self.signs.get("score", self.signs["to"]), last))

    def part(self, numerator: int, denominator: int) -> str:
        """A fraction such as 3/4."""
        return self.joined((self.cardinal(numerator), self.signs["over"], self.cardinal(denominator)))

    def mixed(self, value: int, numerator: int, denominator: int) -> str:
        """A whole number and a fraction."""
        return self.joined((self.cardinal(value), self.signs["and"], self.part(numerator, denominator)))

    def clock(self, moment: Moment) -> str:
        """A time of day."""
        parts = [moment.hour, moment.minute or None, moment.second or None]
        return self.joined(self.cardinal(part) for part in parts if part is not None)

    def date(self, year: int | None, month: int, day: int) -> str:
        """A date in numbers."""
        raise NotImplementedError

    def money(self, number: Number, currency: str, scale: str) -> str:
        one, many = self.currencies[currency]
        if scale:
            return self.joined((self.number(number.shortened()), self.scales[scale], many))
        return self.joined((self.number(number.shortened(), one), one if number.is_one else many))

    def measure(self, number: Number, unit: str) -> str:
        one, many = self.units[unit]
        return self.joined((self.number(number.shortened(), one), one if number.is_one else many))

    def measures(self, first: Number, last: Number, unit: str) -> str:
        """From one number of a unit to another."""
        return self.span(self.number(first.shortened()), self.measure(last, unit))

    def phone(self, groups: Sequence[str]) -> str:
        return ", ".join(map(self.digits, groups))

    def version(self, parts: Sequence[str], sign: str = "point") -> str:
        """Numbers with dots between them."""
        words = [self.whole(parts[0])]
        for part in parts[1:]:
            words += [self.signs[sign], self.whole(part)]
        return self.joined(words)

    def joined(self, words: Any) -> str:
        return ("" if self.glued else " ").join(filter(None, words))

    def replaced(self, pattern: re.Pattern[str], text: str, words: Callable[[re.Match[str]], str | None]) -> str:
        """`text` with each match as `words(match)` says, apart from the letters around; None leaves it as it is."""

        def put(found: re.Match[str]) -> str:
            spoken = words(found)
            if spoken is None:
                return found[0]
            if self.glued or not spoken:
                return spoken
            before, after = text[found.start() - 1 : found.start()], text[found.end() : found.end() + 1]
            end = " " if after.isalnum() and not _HANGUL.match(after) else ""
            return f"{' ' if before.isalnum() else ''}{spoken}{end}"

        return pattern.sub(put, text)

    def between(self, sign: str) -> str:
        """A sign in words that stands between others."""
        return self.signs[sign] if self.glued else f" {self.signs[sign]} "

    @cached_property
    def _digits(self) -> tuple[str, ...]:
        return tuple(self.cardinal(digit) for digit in range(10))

    def _words(self, value: int, to: str) -> str:
        from num2words import num2words

        return str(num2words(value, lang=self.code, to=to))
