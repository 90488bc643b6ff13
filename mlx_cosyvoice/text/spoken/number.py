"""A number as it is written, with either style of separators."""

from __future__ import annotations

import re
from typing import NamedTuple

_BLANKS = " \u00a0\u2009\u202f'\u2019"

#: The pattern of a number, without groups of its own: thousands separated by any sign, a fraction after either mark.
NUMBER = rf"(?:\d{{1,3}}(?:(?:,\d{{3}})+|(?:\.\d{{3}})+|(?:[{_BLANKS}]\d{{3}})+)(?!\d)(?:[.,]\d+)?|\d+(?:[.,]\d+)?)"
_TO_BLANKS = re.compile(f"[{_BLANKS}]")


class Number(NamedTuple):
    """The digits before and after the decimal mark."""

    whole: str
    fraction: str = ""

    @property
    def value(self) -> int:
        return int(self.whole)

    @property
    def is_one(self) -> bool:
        return self.whole == "1" and not self.fraction.strip("0")

    def shortened(self) -> Number:
        """Without zeros at the end of the fraction."""
        return Number(self.whole, self.fraction.rstrip("0"))


def read(written: str, *, decimal_comma: bool) -> Number:
    """The number that matches NUMBER; `decimal_comma` decides where only one mark is there.

    1,500 is a thousand and a half with commas between thousands, and one and a half with decimal commas. Two groups of
    three are thousands whatever the mark is, and the last of two different marks is the decimal one.
    """
    text = _TO_BLANKS.sub("", written)
    commas, dots = text.count(","), text.count(".")
    decimal = "," if decimal_comma else "."
    if commas and dots:
        decimal = max(",", ".", key=text.rfind)
    elif commas + dots > 1:
        decimal = ""
    elif (commas + dots == 1 and not re.fullmatch(r"\d{1,3}[.,]\d{3}", text)) or text.startswith("0"):
        decimal = "," if commas else "."
    whole, _, fraction = text.partition(decimal) if decimal else (text, "", "")
    return Number(re.sub("[.,]", "", whole), re.sub("[.,]", "", fraction))
