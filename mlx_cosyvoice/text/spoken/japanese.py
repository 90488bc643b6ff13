"""Japanese: numbers in kanji, units and signs in katakana."""

from __future__ import annotations

import re
from typing import ClassVar

from mlx_cosyvoice.text.spoken.number import NUMBER, Number
from mlx_cosyvoice.text.spoken.speaker import Moment, Speaker, replaced
from mlx_cosyvoice.text.spoken.tables import names, words

_NUMBER = re.compile(rf"(?a){NUMBER}")
_YEN = re.compile(rf"(?a)[¥￥]\s?({NUMBER})(?=\s?(?:円|万|億))")


class Japanese(Speaker):
    code = "ja"
    decimal_comma = False
    glued = True
    signs: ClassVar = words(
        """
        point=点; dot=ドット; minus=マイナス; plus=プラス; to=から; score=対; over=分の; and=と; at=アットマーク
        slash=スラッシュ; backslash=バックスラッシュ; dash=ハイフン; underscore=アンダーバー; colon=コロン
        question=クエスチョン; hash=シャープ; tilde=チルダ; equals=イコール; times=かける; by=かける; divided=わる
        less=小なり; greater=大なり; about=約; approximately=約; plusminus=プラスマイナス; root=ルート; squared=の二乗
        cubed=の三乗; power=の; fold=倍; version=バージョン; always=二十四時間年中無休; percent=パーセント
        """
    )
    units: ClassVar = names(
        """
        km=キロメートル; m=メートル; cm=センチメートル; mm=ミリメートル; km²=平方キロメートル; m²=平方メートル
        m³=立方メートル; kg=キログラム; g=グラム; mg=ミリグラム; t=トン; L=リットル; l=リットル; ml=ミリリットル
        mL=ミリリットル; ha=ヘクタール; km/h=キロメートル毎時; m/s=メートル毎秒; °C=度; °F=華氏度; °=度; h=時間
        min=分; s=秒; ms=ミリ秒; Hz=ヘルツ; kHz=キロヘルツ; MHz=メガヘルツ; GHz=ギガヘルツ; W=ワット; kW=キロワット
        kWh=キロワット時; V=ボルト; dB=デシベル; kcal=キロカロリー; KB=キロバイト; kB=キロバイト; MB=メガバイト
        GB=ギガバイト; TB=テラバイト; hPa=ヘクトパスカル; mAh=ミリアンペアアワー; %=パーセント; px=ピクセル
        fps=エフピーエス
        """
    )
    currencies: ClassVar = names("¥=円; JPY=円; USD=ドル; EUR=ユーロ; GBP=ポンド; CNY=元; KRW=ウォン; CHF=スイスフラン")
    scales: ClassVar = words("万=万; 億=億; 千=千; M=百万")

    def prepare(self, text: str) -> str:
        return _YEN.sub(r"\1円", text).replace("円円", "円")

    def finish(self, text: str) -> str:
        return replaced(_NUMBER, text, lambda found: self.plain(found[0]), glued=True)

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
