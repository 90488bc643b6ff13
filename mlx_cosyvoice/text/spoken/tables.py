"""The tables of words of each language, kept as text in `words/`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib import resources


@cache
def tables(name: str) -> dict[str, str]:
    """The tables of `words/NAME.txt`, a language's, as they are written: "[table]" stands above each."""
    text = (resources.files(__package__) / "words" / f"{name}.txt").read_text(encoding="utf-8")
    _, *parts = re.split(r"^\[(\w+)\]\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def names(table: str, plural: str = "") -> dict[str, tuple[str, str]]:
    """Signs to their names for one and for more, from "sign=one|more; sign=one; ...".

    Args:
        table: where there is only one name, the other is that with `plural`.
    """
    result = {}
    for entry in filter(None, (entry.strip() for entry in table.replace("\n", ";").split(";"))):
        sign, _, words = entry.partition("=")
        one, _, many = words.partition("|")
        result[sign] = (one, many or one + plural)
    return result


def words(table: str) -> dict[str, str]:
    """Signs to words, from "sign=words; ..."."""
    return {sign: one for sign, (one, _) in names(table).items()}


def any_of(words: Iterable[str]) -> str:
    """A pattern that matches each of these, the longest one that does."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
