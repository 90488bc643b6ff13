"""German: 1.500 and 2,5, dates with dots, 15:30 Uhr."""

from __future__ import annotations

import re
from typing import ClassVar

from mlx_cosyvoice.text.spoken.number import NUMBER, Number
from mlx_cosyvoice.text.spoken.speaker import Moment, Speaker, replaced
from mlx_cosyvoice.text.spoken.tables import names, words

_MONTHS = "Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember"
_ABBREVIATIONS = words(
    """
    z.B.=zum Beispiel; z. B.=zum Beispiel; d.h.=das heißt; d. h.=das heißt; u.a.=unter anderem; u. a.=unter anderem
    bzw.=beziehungsweise; usw.=und so weiter; ca.=circa; Dr.=Doktor; Prof.=Professor; Hr.=Herr; Fr.=Frau; Nr.=Nummer
    Str.=Straße; ggf.=gegebenenfalls; evtl.=eventuell; inkl.=inklusive; zzgl.=zuzüglich; Mio.=Millionen
    Mrd.=Milliarden; St.=Sankt; v. Chr.=vor Christus; n. Chr.=nach Christus; bspw.=beispielsweise; vgl.=vergleiche
    Abb.=Abbildung; Kap.=Kapitel
    """
)
_ABBREVIATION = re.compile(
    r"(?<![\w.])(?:" + "|".join(re.escape(one) for one in sorted(_ABBREVIATIONS, key=len, reverse=True)) + r")(?!\w)"
)
_STREET = re.compile(r"(?<=[a-zäöüß])str\.(?=\s)")
_PAGE = re.compile(r"(?<!\w)S\.\s?(?=\d)")
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
_WEAK = frozenset(
    [
        "am",
        "im",
        "vom",
        "zum",
        "zur",
        "beim",
        "dem",
        "den",
        "des",
        "einen",
        "einem",
        "einer",
        "ihren",
        "seinen",
        "jeden",
    ]
)


class German(Speaker):
    code = "de"
    signs: ClassVar = words(
        """
        point=Komma; dot=Punkt; minus=minus; plus=plus; to=bis; score=zu; over=durch; and=und; at=at
        slash=Schrägstrich; backslash=Backslash; dash=Minus; underscore=Unterstrich; colon=Doppelpunkt
        question=Fragezeichen; hash=Raute; tilde=Tilde; equals=gleich; times=mal; by=mal; divided=geteilt durch
        less=kleiner als; greater=größer als; about=etwa; less_equal=höchstens; greater_equal=mindestens
        approximately=ungefähr; plusminus=plus minus; root=Wurzel aus; squared=Quadrat; cubed=hoch drei; power=hoch
        fold=mal; version=Version; always=rund um die Uhr; percent=Prozent
        """
    )
    units: ClassVar = names(
        """
        km=Kilometer; m=Meter; cm=Zentimeter; mm=Millimeter; nm=Nanometer; km²=Quadratkilometer; m²=Quadratmeter
        m³=Kubikmeter; qm=Quadratmeter; ha=Hektar; kg=Kilogramm; g=Gramm; mg=Milligramm; t=Tonne|Tonnen; l=Liter
        L=Liter; ml=Milliliter; cl=Zentiliter; km/h=Kilometer pro Stunde; m/s=Meter pro Sekunde; °C=Grad Celsius
        °F=Grad Fahrenheit; °=Grad; h=Stunde|Stunden; min=Minute|Minuten; Min.=Minute|Minuten; Std.=Stunde|Stunden
        s=Sekunde|Sekunden; ms=Millisekunde|Millisekunden; Hz=Hertz; kHz=Kilohertz; MHz=Megahertz; GHz=Gigahertz
        W=Watt; kW=Kilowatt; MW=Megawatt; kWh=Kilowattstunde|Kilowattstunden; V=Volt; PS=PS
        mAh=Milliamperestunde|Milliamperestunden; dB=Dezibel; hPa=Hektopascal; kcal=Kilokalorie|Kilokalorien
        kB=Kilobyte; KB=Kilobyte; MB=Megabyte; GB=Gigabyte; TB=Terabyte; Mbit/s=Megabit pro Sekunde; %=Prozent
        ‰=Promille; px=Pixel
        """
    )
    currencies: ClassVar = names(
        "EUR=Euro; USD=Dollar; GBP=Pfund; CHF=Schweizer Franken; ¥=Yen; JPY=Yen; CNY=Yuan; CAD=kanadische Dollar"
    )
    scales: ClassVar = words(
        "Mio.=Millionen; Mio=Millionen; Millionen=Millionen; Mrd.=Milliarden; Mrd=Milliarden; "
        "Milliarden=Milliarden; Tsd.=tausend; Million=Million"
    )

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
        return replaced(_DECADE, super().after_times(text), self._decade, glued=False)

    def finish(self, text: str) -> str:
        text = replaced(_YEAR, text, lambda found: self.year(int(found[1])), glued=False)
        return replaced(_NUMBER, text, lambda found: self._plain(found[1], found[2] or ""), glued=False)

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
        words = f"{self._ordinal(day, 'am')} {_MONTHS.split('|')[month - 1]}"
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
