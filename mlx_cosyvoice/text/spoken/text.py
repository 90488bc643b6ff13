"""A text of any length as it is said: lines, then sentences, each in its language."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlx_cosyvoice.text.spoken import markdown
from mlx_cosyvoice.text.spoken import sentences as cutting
from mlx_cosyvoice.text.spoken.language import detect
from mlx_cosyvoice.text.spoken.reading import spoken

#: How far into a text its language is looked for, in characters.
HEAD = 1000

#: What a text is in that gives no sign.
DEFAULT = "en"


def speak(text: str, known: re.Pattern[str], language: str | None = None) -> Iterator[str]:
    """What is said for `text`, sentence by sentence, each as soon as it is asked for.

    Args:
        text: whole sentences or lines.
        known: matches control tokens, which stay as they are.
        language: what sentences are in that give no sign of their own; by default that of the text's beginning.
    """
    language = language or first_language(text)
    for sentence in sentences(text, known):
        language = detect(sentence, language) or DEFAULT
        yield spoken(sentence, language, known)


def sentences(text: str, known: re.Pattern[str] = markdown.NOTHING) -> Iterator[str]:
    """The sentences of `text` without the signs of markdown; `known` matches control tokens."""
    for line in markdown.read(text, known):
        yield from cutting.cut(line)


def first_language(text: str) -> str:
    """The language of the first sentence that gives a sign of one."""
    for sentence in sentences(text[:HEAD]):
        found = detect(sentence)
        if found is not None:
            return found
    return DEFAULT
