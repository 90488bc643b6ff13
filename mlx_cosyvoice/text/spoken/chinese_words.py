"""Tables of Chinese words."""

from __future__ import annotations

import re

from mlx_cosyvoice.text.spoken.tables import names, words

SIGNS = words(
    """
    point=点; dot=点; minus=负; plus=加; to=到; score=比; and=和; at=艾特; slash=斜杠; backslash=反斜杠; dash=杠
    underscore=下划线; colon=冒号; question=问号; hash=井号; tilde=波浪号; percent=百分号; equals=等于; times=乘
    by=乘; divided=除以; less=小于; greater=大于; less_equal=小于等于; greater_equal=大于等于; not_equal=不等于
    approximately=约等于; about=约; plusminus=正负; root=根号; squared=的平方; cubed=的立方; power=的; fold=倍
    version=v; always=二十四小时
    """
)
UNITS = names(
    """
    km=公里; m=米; cm=厘米; mm=毫米; nm=纳米; km²=平方公里; m²=平方米; cm²=平方厘米; m³=立方米; cm³=立方厘米; ha=公顷
    kg=公斤; g=克; mg=毫克; t=吨; lb=磅; lbs=磅; oz=盎司; ft=英尺; mi=英里; L=升; l=升; ml=毫升; mL=毫升
    km/h=公里每小时; m/s=米每秒; mph=英里每小时; °C=摄氏度; °F=华氏度; °=度; h=小时; min=分钟; s=秒; ms=毫秒; Hz=赫兹
    kHz=千赫兹; MHz=兆赫兹; GHz=吉赫兹; W=瓦; kW=千瓦; MW=兆瓦; kWh=千瓦时; V=伏; mAh=毫安时; dB=分贝; kcal=千卡
    kB=KB; KB=KB; MB=MB; GB=GB; TB=TB; Mbps=兆每秒; px=像素; Pa=帕; hPa=百帕; kPa=千帕; fps=帧每秒; %=%; ‰=‰
    """
)
#: What is said before the number.
BEFORE = {
    "%": "百分之N",
    "‰": "千分之N",
    "km/h": "每小时N公里",
    "m/s": "每秒N米",
    "mph": "每小时N英里",
    "fps": "每秒N帧",
}
CURRENCIES = names(
    """
    USD=美元; EUR=欧元; GBP=英镑; ¥=元; JPY=日元; CNY=元; HKD=港元; TWD=新台币; AUD=澳元; CAD=加元; SGD=新加坡元
    CHF=瑞士法郎; KRW=韩元; INR=卢比; RUB=卢布; BRL=雷亚尔
    """
)
SCALES = words("万=万; 亿=亿; 千=千; 百万=百万; 千万=千万; k=千; K=千; M=百万; million=百万; B=十亿; billion=十亿")
#: What follows a count.
MEASURES = frozenset(
    "个個人元块天年月日号岁次名位米分秒件条張张只本页层楼间台辆万萬亿億千百倍套家种項项吨克升度小多余平公里厘毫斤头棵片座栋句字集章节届班级"
)
#: Two of these is 二, not 两.
NOT_LIANG = frozenset(("摄氏度", "华氏度", "度", "%", "‰", "点", "月"))

_BRACKET = re.compile("(?<=[\\w”》])[（【]|[）】](?=[\\w“《])")
_TOO_MANY = re.compile("，(?=[，。！？；：、])|(?<=[。！？；：、，])，")
_AND = re.compile(r"\s?&\s?")
_TAG = re.compile(r"#(?=[\w\u4e00-\u9fff])|(?<=[\w\u4e00-\u9fff])#(?=\s|$|[，。！？])")


_MORE = re.compile("(?<=\\d)\\+(?=[个項项家名人位种種次款年天座门門万])")
_NAMES = (
    (re.compile(r"(?a)(?<![A-Za-z])([CFJ])#(?!\w)"), r"\1 sharp"),
    (re.compile(r"(?a)(?<![A-Za-z])C\+\+"), "C加加"),
)
_MENTION = re.compile("(?<![A-Za-z0-9_.])@(?=[\\w])")


def before_numbers(text: str) -> str:
    """Signs that stand by digits and letters."""
    for pattern, name in _NAMES:
        text = pattern.sub(name, text)
    return _MENTION.sub("艾特", _MORE.sub("多", text))


def tidy(text: str) -> str:
    """Signs between words."""
    text = _BRACKET.sub("，", text)
    text = _TOO_MANY.sub("", text)
    return _TAG.sub("", _AND.sub("和", text))
