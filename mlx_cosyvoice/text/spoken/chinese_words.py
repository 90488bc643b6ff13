"""Tables of Chinese words."""

from __future__ import annotations

import re

from mlx_cosyvoice.text.spoken.tables import tables, words

#: What is said before the number: a pattern with N for it.
BEFORE = words(tables("zh")["before"])
UNITS = words(tables("zh")["units"])
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
