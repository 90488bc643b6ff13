"""Chinese. Numbers among characters are wetext's affair, which knows 两 from 二 and a hotline from a count."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from mlx_cosyvoice.text.spell_out import spell_out_with_wetext
from mlx_cosyvoice.text.spoken import chinese_words as table
from mlx_cosyvoice.text.spoken.number import NUMBER, Number, read
from mlx_cosyvoice.text.spoken.speaker import Moment, Speaker
from mlx_cosyvoice.text.spoken.tables import any_of

_DIGITS = "零一二三四五六七八九"
_HAN = "\u4e00-\u9fff"
_NUMBER = re.compile(f"(?a)(第?)({NUMBER})([{_HAN}]{{0,3}})")
_YEARS = re.compile(
    r"(?a)(?<![\d.,A-Za-z])((?:1\d|20)\d\d)\s?[-\u2013\u2014~\uff5e至到]\s?((?:1\d|20)\d\d)(?=年|学年|赛季|财年)"
)
_YUAN = re.compile(rf"(?a)[¥￥]\s?({NUMBER})(?=\s?(?:元|块|万|亿))")
_DOLLARS = re.compile(rf"(?a)\$\s?({NUMBER})(?=\s?(?:美元|美金))")
_HOURS = re.compile(r"(?a)(?<!\d)7[×xX*]24(?=小时|不)|(?<![\d/])24/7小时")
_UNTIL = re.compile("(?a)(?<=[年月日号点分元周])\\s?[-\u2013~\uff5e]\\s?(?=\\d)")
_UNITS = any_of(unit for unit in table.UNITS if unit not in "%‰")
_BIG_UNIT = re.compile(f"(?<=[万亿])({_UNITS})(?![A-Za-z])")
_ROOM = re.compile(r"(?a)(?<=[A-Za-z\d])#(?=楼|[\u4e00-\u9fff])")


class Chinese(Speaker):
    code = "zh"
    decimal_comma = False
    glued = True

    def prepare(self, text: str) -> str:
        text = _HOURS.sub("二十四小时", text) if "24" in text else text
        text = _YUAN.sub(r"\1", text)
        text = _DOLLARS.sub(r"\1", text)
        text = table.before_numbers(_UNTIL.sub("到", text))
        text = _BIG_UNIT.sub(lambda found: table.UNITS[found[1]], text)
        text = _ROOM.sub("号", text)
        return _YEARS.sub(lambda found: f"{self.year(int(found[1]))}到{self.year(int(found[2]))}", text)

    def finish(self, text: str) -> str:
        return self.replaced(_NUMBER, text, self._counted)

    def tidy(self, text: str) -> str:
        return table.tidy(text)

    def cardinal(self, value: int) -> str:
        return cardinal(value)

    def ordinal(self, value: int) -> str:
        return "第" + cardinal(value)

    def counted(self, value: int, noun: str) -> str:
        return "两" if value == 2 and noun not in table.NOT_LIANG else cardinal(value)

    def digits(self, digits: str) -> str:
        return "".join(_DIGITS[int(digit)] for digit in digits)

    def year(self, value: int) -> str:
        return self.digits(str(value))

    def part(self, numerator: int, denominator: int) -> str:
        return f"{cardinal(denominator)}分之{cardinal(numerator)}"

    def mixed(self, value: int, numerator: int, denominator: int) -> str:
        return f"{cardinal(value)}又{self.part(numerator, denominator)}"

    def clock(self, moment: Moment) -> str:
        half = {"am": "上午", "pm": "下午", "": ""}[moment.half]
        words = f"{half}{cardinal(moment.hour)}点"
        if moment.minute:
            words += ("零" if moment.minute < 10 else "") + cardinal(moment.minute) + "分"
        return words + (f"{'零' if not moment.minute else ''}{cardinal(moment.second)}秒" if moment.second else "")

    def date(self, year: int | None, month: int, day: int) -> str:
        words = f"{cardinal(month)}月{cardinal(day)}日"
        return words if year is None else f"{self.year(year)}年{words}"

    def measure(self, number: Number, unit: str) -> str:
        before = table.BEFORE.get(unit)
        if before:
            return before.replace("N", self.number(number.shortened()))
        return super().measure(number, unit)

    def measures(self, first: Number, last: Number, unit: str) -> str:
        before = table.BEFORE.get(unit)
        if before:
            return before.replace("N", self.span(self.number(first.shortened()), self.number(last.shortened())))
        return super().measures(first, last, unit)

    def money(self, number: Number, currency: str, scale: str) -> str:
        words = self.number(number if number.fraction.strip("0") else Number(number.whole), "元")
        return words + (self.scales[scale] if scale else "") + self.currencies[currency][0]

    def phone(self, groups: Sequence[str]) -> str:
        return "，".join(self.digits(group).replace("一", "幺") for group in groups)

    def _counted(self, found: re.Match[str]) -> str:
        """A number and what it counts, which wetext looks at."""
        number = read(found[2], decimal_comma=False)
        if number.fraction:
            return f"{found[1]}{self.number(number)}{found[3]}"
        counts = found[3][:1] in table.MEASURES
        if found.string[found.start() - 1 : found.start()].isascii() and found.start() and len(number.whole) < 3:
            before = found.string[found.start() - 1]
            if before.isalpha():
                return f"{self.whole(number.whole)}{found[3]}"
        if found[2].isdecimal() and len(number.whole) >= 7 and not counts:
            return f"{found[1]}{self.digits(number.whole)}"
        alone = f"{found[1]}{number.whole}{found[3]}"
        spelled = _wetext(alone)
        if spelled == alone or not spelled.endswith(found[3]):
            return f"{found[1]}{self.whole(number.whole)}{found[3]}"
        if "幺" in spelled and counts:
            return f"{found[1]}{cardinal(number.value)}{found[3]}"
        return spelled


@lru_cache(4096)
def _wetext(text: str) -> str:
    return spell_out_with_wetext(text, "zh")


def cardinal(value: int) -> str:
    """A number in Chinese: 12 as 十二, 200 as 两百, 1001 as 一千零一."""
    if value < 0:
        return "负" + cardinal(-value)
    for unit, name in ((10**12, "万亿"), (10**8, "亿"), (10**4, "万")):
        if value >= unit:
            head, rest = divmod(value, unit)
            words = "两" if head == 2 else cardinal(head)
            gap = "零" if rest and rest < unit // 10 else ""
            tail = cardinal(rest) if rest else ""
            return words + name + gap + ("一" + tail if tail.startswith("十") else tail)
    words, zero = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = value // unit % 10
        if not digit:
            zero = bool(words)
            continue
        words += "零" if zero else ""
        zero = False
        if digit == 1 and name == "十" and not words:
            words += name
        else:
            words += ("两" if digit == 2 and unit > 100 else _DIGITS[digit]) + name
    if value // 100 == 2 or (value // 100 % 10 == 2 and not value // 1000):
        words = words.replace("二百", "两百")
    return words or "零"
