"""Tables of words written compactly."""

from __future__ import annotations


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
