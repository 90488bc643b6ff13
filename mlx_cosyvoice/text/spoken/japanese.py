"""Japanese: numbers in kanji, units and signs in katakana."""

from __future__ import annotations

import re

from mlx_cosyvoice.text.spoken.number import NUMBER, Number
from mlx_cosyvoice.text.spoken.speaker import Moment, Speaker

_NUMBER = re.compile(rf"(?a){NUMBER}")
_YEN = re.compile(rf"(?a)[¥￥]\s?({NUMBER})(?=\s?(?:円|万|億))")


class Japanese(Speaker):
    code = "ja"
    decimal_comma = False
    glued = True

    def prepare(self, text: str) -> str:
        return _YEN.sub(r"\1円", text).replace("円円", "円")

    def finish(self, text: str) -> str:
        return self.replaced(_NUMBER, text, lambda found: self.plain(found[0]))

    def year(self, value: int) -> str:
        return self.cardinal(value)

    def part(self, numerator: int, denominator: int) -> str:
        return f"{self.cardinal(denominator)}分の{self.cardinal(numerator)}"

    def clock(self, moment: Moment) -> str:
        half = {"am": "午前", "pm": "午後", "": ""}[moment.half]
        words = f"{half}{self.cardinal(moment.hour)}時"
        words += f"{self.cardinal(moment.minute)}分" if moment.minute else ""
        return words + (f"{self.cardinal(moment.second)}秒" if moment.second else "")

    def date(self, year: int | None, month: int, day: int) -> str:
        words = f"{self.cardinal(month)}月{self.cardinal(day)}日"
        return words if year is None else f"{self.cardinal(year)}年{words}"

    def money(self, number: Number, currency: str, scale: str) -> str:
        return self.number(number) + (self.scales[scale] if scale else "") + self.currencies[currency][0]

    def phone(self, groups: list[str]) -> str:  # type: ignore[override]
        return "、".join(map(self.digits, groups))

    def digits(self, digits: str) -> str:
        return "".join("〇一二三四五六七八九"[int(digit)] for digit in digits)
