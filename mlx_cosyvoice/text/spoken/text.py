"""A text of any length as it is said: lines, then sentences, each in its language."""

from __future__ import annotations

from collections.abc import Iterator

from mlx_cosyvoice.text.spoken import markdown
from mlx_cosyvoice.text.spoken import sentences as cutting
from mlx_cosyvoice.text.spoken.language import detect
from mlx_cosyvoice.text.spoken.reading import spoken

#: How far into a text its language is looked for, in characters.
HEAD = 1000

#: What a text is in that gives no sign.
DEFAULT = "en"


def speak(text: str, language: str | None = None, following: str = "") -> Iterator[str]:
    """What is said for `text`, sentence by sentence, each as soon as it is asked for.

    Args:
        text: whole sentences or lines.
        language: what sentences are in that give no sign of their own; by default that of the text's beginning.
        following: what comes after `text`, as far as it is known.
    """
    language = language or first_language(text)
    for sentence in sentences(text, following):
        language = detect(sentence, language) or DEFAULT
        yield spoken(sentence, language)


def sentences(text: str, following: str = "") -> Iterator[str]:
    """The sentences of `text` without the signs of markdown."""
    for line in markdown.read(text, following):
        yield from cutting.cut(line)


def first_language(text: str) -> str:
    """The language of the first sentence that gives a sign of one."""
    for sentence in sentences(text[:HEAD]):
        found = detect(sentence)
        if found is not None:
            return found
    return DEFAULT


def ready(text: str) -> int:
    """How many characters at the beginning of an arriving text are whole sentences, which no more text will change."""
    end = 0
    for position, line_end in _lines(text):
        if line_end and text[line_end:].strip(" \t"):
            end = line_end
            continue
        for end_of_sentence in cutting.ends(text[position:line_end] if line_end else text[position:]):
            end = position + end_of_sentence
    return end


def _lines(text: str) -> Iterator[tuple[int, int]]:
    """Where each line begins, and where the next one does; 0 where none does yet."""
    start = 0
    while (at := text.find("\n", start)) >= 0:
        yield start, at + 1
        start = at + 1
    if start < len(text):
        yield start, 0
