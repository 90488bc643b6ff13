"""Korean: Sino-Korean numbers, and native ones before what is counted with them, such as hours and people."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlx_cosyvoice.text.spoken.number import NUMBER, Number, read
from mlx_cosyvoice.text.spoken.speaker import Moment, Speaker

_ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")

#: Longest first; 분 is a minute more often than a person, and 대 a generation as often as a machine.
_NATIVE = (
    "시간|시|살|개월|개|명|마리|번째|번|잔|병|권|장|송이|켤레|그루|채|가지|사람|달|곳|벌|자루|척|그릇|조각|쌍|군데|판|통|배|대|편|끼|줄|"
    "봉지|상자|모금|방울|숟가락|마디|바퀴|걸음|차례|주먹|포기"
)
#: These begin with a native counter but are counted the other way, or are counters of their own.
_NOT_NATIVE = (
    *("개월", "대의", "번지", "번길", "번 버스", "시즌", "장조", "번가", "배럴", "채널", "달러", "판교"),
    *("대한", "통계", "대통령", "번호", "번 출구", "번출구", "번 문제"),
    *("번 게이트", "번 홈", "번 방", "번 타자", "번 선수", "번 국도", "번 노선"),
)
_COUNTED = re.compile(rf"(?a)(?<![\d.,제])(\d{{1,2}})(\s?)(?=({_NATIVE}))")
_NUMBER = re.compile(rf"(?a)({NUMBER})(\s?)([가-힣]?)")
_MONTH = re.compile(r"(?a)(?<![\d.,])(6|10)월")
_HOUR_SPAN = re.compile(r"(?a)(?<!\d)(\d{1,2})\s?[-~\u2013\uff5e]\s?(\d{1,2})(?=(시간|시|명|개|살|번|마리|잔|권|사람))")
_SINO_UNITS = frozenset("년월일원분초도층호번회위세주점억만천백차학쪽세급과기")


class Korean(Speaker):
    code = "ko"
    decimal_comma = False

    def prepare(self, text: str) -> str:
        text = _MONTH.sub(lambda found: {"6": "유월", "10": "시월"}[found[1]], text)
        return _HOUR_SPAN.sub(lambda found: f"{native(int(found[1]))} {found[3]}에서 {found[2]}", text)

    def after_times(self, text: str) -> str:
        return _COUNTED.sub(self._counted, text)

    def finish(self, text: str) -> str:
        return self.replaced(_NUMBER, text, self._number)

    def cardinal(self, value: int) -> str:
        words = super().cardinal(value).replace(" ", "")
        # 10,000 and what begins with it is 만, not 일만.
        return words.removeprefix("일") if words.startswith("일만") else words

    def year(self, value: int) -> str:
        return self.cardinal(value)

    def ordinal(self, value: int) -> str:
        return f"제{self.cardinal(value)}"

    def digits(self, digits: str) -> str:
        return "".join("영일이삼사오육칠팔구"[int(digit)] for digit in digits)

    def part(self, numerator: int, denominator: int) -> str:
        return f"{self.cardinal(denominator)}분의 {self.cardinal(numerator)}"

    def span(self, first: str, last: str) -> str:
        return f"{first}에서 {last}"

    def clock(self, moment: Moment) -> str:
        half = {"am": "오전 ", "pm": "오후 ", "": ""}[moment.half]
        hour = native(moment.hour) if 1 <= moment.hour <= 12 else self.cardinal(moment.hour)
        words = f"{half}{hour} 시"
        words += f" {self.cardinal(moment.minute)} 분" if moment.minute else ""
        return words + (f" {self.cardinal(moment.second)} 초" if moment.second else "")

    def date(self, year: int | None, month: int, day: int) -> str:
        name = {6: "유", 10: "시"}.get(month) or self.cardinal(month)
        words = f"{name}월 {self.cardinal(day)}일"
        return words if year is None else f"{self.cardinal(year)}년 {words}"

    def money(self, number: Number, currency: str, scale: str) -> str:
        words = self.number(number.shortened()) + (self.scales[scale] if scale else "")
        return f"{words} {self.currencies[currency][0]}"

    def measure(self, number: Number, unit: str) -> str:
        if unit == "h" and not number.fraction and 1 <= number.value <= 99:
            return f"{native(number.value)} 시간"
        return super().measure(number, unit)

    def phone(self, groups: Sequence[str]) -> str:
        return ", ".join(self.digits(group).replace("영", "공") for group in groups)

    def _counted(self, found: re.Match[str]) -> str:
        after = found.string[found.end() : found.end() + 4]
        value = int(found[1])
        decade = found[3] == "대" and value % 10 == 0
        if value == 0 or decade or after.startswith(_NOT_NATIVE) or (found[3] == "시" and value > 12):
            return found[0]
        return f"{native(value)} "

    def _number(self, found: re.Match[str]) -> str:
        spoken = self.number(read(found[1], decimal_comma=False))
        if not found[3]:
            return spoken + found[2]
        return (
            spoken
            + (found[2] if found[3] in _SINO_UNITS or found[2] else " " if self._is_word(found) else "")
            + found[3]
        )

    @staticmethod
    def _is_word(found: re.Match[str]) -> bool:
        """Whether the number stands before a word of its own rather than a particle."""
        return found[3] not in "은는이가을를의에와과로도만인입"


def native(value: int) -> str:
    """1 to 99 as before a counter."""
    tens, ones = divmod(value, 10)
    if not ones and tens == 2:
        return "스무"
    return _TENS[tens] + _ONES[ones]
