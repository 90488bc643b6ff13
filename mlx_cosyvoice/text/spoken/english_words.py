"""English signs between words and by digits."""

from __future__ import annotations

import re

from mlx_cosyvoice.text.spoken.tables import tables, words

CENTS = {**dict.fromkeys(("USD", "AUD", "CAD", "HKD", "SGD", "EUR"), ("cent", "cents")), "GBP": ("penny", "pence")}
_PER = re.compile(
    r"(?<=[a-z])\s?/\s?(?=(?:month|mo|year|yr|day|week|wk|hour|hr|h|night|minute|min|second|sec|s|person|user|kg|"
    r"km|mile|unit|"
    r"item|piece|token|l|kWh)\b)"
)
_PER_WORDS = re.compile(r"(?<=\bper )(mo|yr|wk|hr|h|min|sec|s|kg|km|l|kWh)\b")
_LONG = words(tables("en")["long"])
GREEK = words(tables("en")["greek"])
_GREEK = re.compile(f"(?<!\\w)[{''.join(GREEK)}](?!\\w)")
_AND = re.compile(r"\s?&\s?(?=\w)|(?<=\w)\s?&")
_SLASH = re.compile(r"(?<=[A-Za-z])/(?=[A-Za-z])")
_LANGUAGE_NAMES = (
    (re.compile(r"(?<![A-Za-z])([CFJ])#"), r"\1 sharp"),
    (re.compile(r"(?<![A-Za-z])([A-Za-z])\+\+"), r"\1 plus plus"),
)
_NUMBERED = re.compile(r"(?<![\w&])#(?=\d)")
_TAGGED = re.compile(r"(?<![\w&])#(?=\w)")
_MENTION = re.compile(r"(?<![\w.])@\s?(?=\w)")
_PLUS_AFTER = re.compile(r"(?<=\w)\+(?=[\s.,;:!?)]|$)")


def before_numbers(text: str) -> str:
    """Signs that stand by digits."""
    for pattern, name in _LANGUAGE_NAMES:
        text = pattern.sub(name, text)
    text = _GREEK.sub(lambda found: GREEK[found[0]], text)
    return _TAGGED.sub("hashtag ", _NUMBERED.sub("number ", text))


def tidy(text: str) -> str:
    """Signs between words."""
    text = _PER_WORDS.sub(lambda found: _LONG[found[1]], _PER.sub(" per ", text))
    text = _MENTION.sub("at ", _AND.sub(" and ", text))
    return _PLUS_AFTER.sub(" plus", _SLASH.sub(" ", text))
