"""French, Spanish, Italian and Portuguese."""

from __future__ import annotations

import re
from typing import ClassVar

from mlx_cosyvoice.text.spoken import roman
from mlx_cosyvoice.text.spoken.number import NUMBER, Number
from mlx_cosyvoice.text.spoken.speaker import Moment, Speaker
from mlx_cosyvoice.text.spoken.tables import names, words

_NUMBER = re.compile(rf"(?a)({NUMBER})(?=(?:\s([A-Za-z\u00c0-\u024f]+))?)")
_H = re.compile(r"(?a)(?<![\d:.,A-Za-z])([01]?\d|2[0-4])\s?h\s?([0-5]\d)?(?![A-Za-z\d\u00c0-\u024f/])")


class Romance(Speaker):
    """What the four share: nouns have a gender, on which one and at times two depend."""

    #: The masculine and feminine forms of numbers that end a cardinal.
    one: ClassVar[tuple[str, str]]
    two: ClassVar[tuple[str, str] | None] = None
    feminine: ClassVar[re.Pattern[str]]
    ordinals: ClassVar[re.Pattern[str]]
    #: A Roman numeral that surely is one, in a group of its own, such as that of a century.
    century: ClassVar[re.Pattern[str]]
    of: ClassVar[str] = "de"

    def __init__(self) -> None:
        super().__init__()
        self.abbreviations = words(self.tables["abbreviations"])
        #: Denominator -> the name of the part, for one and for more.
        self.parts = names(self.tables["parts"])
        #: What stands between millions and their currency, a currency and its hundredths, hours and minutes.
        self.joints = words(self.tables["joints"])

    def prepare(self, text: str) -> str:
        for short, full in self.abbreviations.items():
            if short in text:
                text = re.sub(rf"(?<!\w){re.escape(short)}(?!\w)", full, text)
        text = self.century.sub(self._century, text)
        return self.replaced(self.ordinals, text, lambda found: self.inflected(int(found[1]), found[2]))

    def finish(self, text: str) -> str:
        return self.replaced(_NUMBER, text, lambda found: self._counted_as_written(found[1], found[2] or ""))

    def tidy(self, text: str) -> str:
        return re.sub(r"\s?&\s?", f" {self.signs['and']} ", text)

    def _century(self, found: re.Match[str]) -> str:
        return found[0].replace(found[1], self.cardinal(roman.value(found[1])))

    def inflected(self, value: int, ending: str) -> str:
        """An ordinal whose written ending shows its gender."""
        words = self.ordinal(value)
        return words[:-1] + "a" if ending in ("\u00aa", "a") and words.endswith("o") else words

    def year(self, value: int) -> str:
        return self.cardinal(value)

    def counted(self, value: int, noun: str) -> str:
        words = self.cardinal(value)
        feminine = bool(self.feminine.search(noun)) if noun else False
        if feminine:
            words = re.sub("(cient|quinient|quinhent|zent|cent)os\\b", r"\1as", words)
        for last, forms in ((1, self.one), (2, self.two)):
            if forms and value % 10 == last and value % 100 != 10 + last:
                base = self.cardinal(last)
                if words.endswith(base):
                    return words[: -len(base)] + forms[feminine]
        return words

    def part(self, numerator: int, denominator: int) -> str:
        if str(denominator) in self.parts:
            one, many = self.parts[str(denominator)]
            return f"{self.counted(numerator, 'm')} {one if numerator == 1 else many}"
        if denominator <= 10:
            plural = "s" if numerator > 1 and self.code != "it" else ""
            return f"{self.counted(numerator, 'm')} {self.ordinal(denominator)}{plural}"
        return super().part(numerator, denominator)

    def date(self, year: int | None, month: int, day: int) -> str:
        words = self.joined((self.ordinal(1) if day == 1 else self.cardinal(day), self.of, self.months[month - 1]))
        return words if year is None else self.joined((words, self.of, self.year(year)))

    def money(self, number: Number, currency: str, scale: str) -> str:
        one, many = self.currencies[currency]
        if scale:
            words = self.joined((self.number(number.shortened()), self.scales[scale]))
            return self.joined((words, self.joints["of_millions"], many))
        if len(number.fraction) != 2 or not int(number.fraction):
            return super().money(number, currency, scale)
        whole = self.joined((self.whole(number.whole, one), one if number.value == 1 else many))
        return self.joined((whole, self.joints["cents"], self.cardinal(int(number.fraction))))

    def clock(self, moment: Moment) -> str:
        words = self.counted(moment.hour, "ora")
        if moment.minute:
            words = self.joined((words, self.joints["minutes"], self.cardinal(moment.minute)))
        return self.joined((words, self.joints.get(moment.half, "")))

    def _counted_as_written(self, written: str, noun: str) -> str:
        if written.isdecimal() and noun and noun.lower() not in ("y", "e", "et", "o", "ou", "a", "de", "di", "del"):
            return self.whole(written, noun)
        return self.plain(written)


class French(Romance):
    code = "fr"
    one = ("un", "une")
    feminine = re.compile(
        r"(?:heures?|minutes?|secondes?|personnes?|semaines?|années?|pages?|femmes?|filles?|fois|tonnes?|pommes?|ora)$"
    )
    ordinals = re.compile(r"(?a)(?<![\w.,])(\d{1,4})(ère|ere|re|er|ème|eme|ième|nde|nd|e|è)s?(?!\w)")
    of = ""
    century = re.compile(rf"(?<!\w)(?!L)({roman.NUMERAL})(?:e|ème)(?!\w)")

    def _century(self, found: re.Match[str]) -> str:
        return self.ordinal(roman.value(found[1]))

    def prepare(self, text: str) -> str:
        return super().prepare(_H.sub(lambda found: self.clock(Moment(int(found[1]), int(found[2] or 0))), text))

    def inflected(self, value: int, ending: str) -> str:
        return "première" if value == 1 and ending in ("ère", "ere", "re") else self.ordinal(value)

    def clock(self, moment: Moment) -> str:
        words = f"{self.counted(moment.hour, 'heure')} heure{'s' if moment.hour > 1 else ''}"
        return f"{words} {self.cardinal(moment.minute)}" if moment.minute else words


class Spanish(Romance):
    code = "es"
    one = ("un", "una")
    feminine = re.compile(r"(?:as?|ción|ciones|dad|dades|veces)$")
    ordinals = re.compile(r"(?a)(?<![\w.,])(\d{1,3})\.?([ºª°])(?!\s?[CF\w])")

    century = re.compile(rf"(?i:siglos?) ({roman.NUMERAL})(?!\w)")

    def counted(self, value: int, noun: str) -> str:
        words = super().counted(value, noun)
        return re.sub("veintiun$", "veintiún", words)


class Italian(Romance):
    code = "it"
    one = ("un", "una")
    feminine = re.compile(r"(?:a|zione|tà|ore)$")
    ordinals = re.compile(r"(?a)(?<![\w.,])(\d{1,3})([ºª°])(?!\s?[CF\w])")
    of = ""

    century = re.compile(rf"(?<!\w)({roman.NUMERAL})(?= secolo)")

    def _century(self, found: re.Match[str]) -> str:
        return self.ordinal(roman.value(found[1]))

    def counted(self, value: int, noun: str) -> str:
        return super().counted(value, noun) if value == 1 else self.cardinal(value)


class Portuguese(Romance):
    code = "pt"
    one = ("um", "uma")
    two = ("dois", "duas")
    feminine = re.compile(r"(?:as?|ção|ções|dade|dades|vezes)$")
    ordinals = re.compile(r"(?a)(?<![\w.,])(\d{1,3})\.?([ºª°])(?!\s?[CF\w])")

    century = re.compile(rf"(?i:séculos?) ({roman.NUMERAL})(?!\w)")

    def prepare(self, text: str) -> str:
        return super().prepare(_H.sub(lambda found: self._hours(found), text))

    def _hours(self, found: re.Match[str]) -> str:
        words = f"{self.counted(int(found[1]), 'hora')} {'hora' if int(found[1]) == 1 else 'horas'}"
        return f"{words} e {self.cardinal(int(found[2]))}" if found[2] and int(found[2]) else words
