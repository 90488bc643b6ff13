"""Markdown as it is read aloud: no signs, and every heading, list item and row a sentence of its own.

Nothing here looks further than one line ahead, so that a text that is still arriving reads as the whole one.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import NamedTuple

from mlx_cosyvoice.text.split import parts
from mlx_cosyvoice.text.spoken.characters import plain

NOTHING = re.compile("(?!)")

#: A line of more characters is read in parts, cut at ends of sentences.
LONGEST = 2000

#: A line of text that is shorter and has no mark at its end is no line of a wrapped paragraph; for scripts whose
#: characters are wide, half of it.
SHORT = 40

_WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_ENDED = re.compile(
    "[.!?:;,\u2026\u2014\u3002\uff01\uff1f\uff1a\uff1b\uff0c\u3001][\"'\u201d\u2019)\\]\u300d\u300f\uff09*_\\s]*$"
)

_FENCE = re.compile(r"(?:```|~~~)")
_RULE = re.compile(r"(?:[-*_=][ \t]?){3,}$")
_TABLE_RULE = frozenset("|:- \t")
_HEADING = re.compile(r"#{1,6}[ \t]+(?=\S)")
_QUOTE = re.compile(r"(?:>[ \t]?)+(?!\d)")
_ITEM = re.compile("(?:[-*+\u2022\u25aa\u25cf\u25e6\u2043][ \t]+)(?:\\[[ xX]\\][ \t]+)?(?=\\S)")
_NUMBERED = re.compile(r"(\d{1,3})[.)][ \t]+(?=\S)")


class Line(NamedTuple):
    """A line without the signs at its beginning."""

    #: "blank", "mark" (says nothing itself, but ends what is before it), "heading", "item", "row" or "text"
    kind: str
    text: str
    indented: bool = False


def read(text: str, known: re.Pattern[str] = NOTHING) -> Iterator[str]:
    """The spoken lines of `text`, each with what separates it from the next; `known` matches control tokens."""
    for line, after in pairwise(chain(_lines(text), [None])):
        if line is not None:
            yield from _spoken(line, after, known)


def classify(line: str) -> Line:
    """What kind of line it is, and what is to be said of it."""
    bare = line.strip()
    indented = line[:1] in " \t"
    quote = _QUOTE.match(bare)
    if quote:
        bare = bare[quote.end() :].strip()
    if not bare:
        return Line("blank", "")
    if _FENCE.match(bare) or _RULE.match(bare) or ("|" in bare and _TABLE_RULE.issuperset(bare)):
        return Line("mark", "")
    heading = _HEADING.match(bare)
    if heading:
        return Line("heading", bare[heading.end() :].rstrip("#").rstrip() or bare)
    item = _ITEM.match(bare)
    if item:
        return Line("item", bare[item.end() :])
    numbered = _NUMBERED.match(bare)
    if numbered:
        return Line("item", f"{numbered[1]}. {bare[numbered.end() :]}")
    if bare.startswith("|") and bare.count("|") > 1:
        return Line("row", ", ".join(filter(None, (cell.strip() for cell in bare.strip("|").split("|")))))
    return Line("text", bare, indented)


def _lines(text: str) -> Iterator[Line]:
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield classify(text[start:end])
        start = end + 1
    yield classify(text[start:])


def _spoken(line: Line, after: Line | None, known: re.Pattern[str]) -> Iterator[str]:
    if not line.text:
        return
    *first, last = parts(line.text, LONGEST)
    yield from (inline(part, known) for part in first)
    spoken = inline(last, known)
    if _ends(line, after, spoken):
        spoken = with_end(spoken)
    yield spoken if after is None else spoken + " "


def _ends(line: Line, after: Line | None, spoken: str) -> bool:
    """Whether a sentence ends with `line`, whatever mark it has; `after` is None where the text ends."""
    if after is None:
        return line.kind in ("heading", "row")
    if line.kind == "item":
        return not (after.kind == "text" and after.indented)
    if line.kind != "text" or after.kind != "text":
        return True
    return len(spoken) < shortest_wrapped(spoken) and not after.text[:1].islower()


def shortest_wrapped(line: str) -> int:
    """How many characters a line must have at least to be one of a wrapped paragraph in the script of `line`."""
    return SHORT // 2 if _WIDE.search(line) else SHORT


def with_end(text: str) -> str:
    """`text` with a full stop where it has no mark at its end."""
    bare = text.rstrip()
    if not bare or _ENDED.search(bare[-12:]):
        return text
    return bare + ("\u3002" if _WIDE.match(bare[-1]) and not "\uac00" <= bare[-1] <= "\ud7af" else ".")


_TAG_NAMES = (
    "a|abbr|b|big|blockquote|code|del|div|em|font|h[1-6]|i|img|ins|kbd|li|mark|ol|p|pre|s|small|span|sub|sup|"
    "table|tbody|td|th|thead|tr|tt|u|ul"
)

_COMMENT = re.compile(r"<!--.{0,1000}?-->")
# Images and links, of which the first group is what is written on them.
_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\((?:[^()\s]|\([^()\s]{0,200}\)){0,1000}(?:[ \t][^()]{0,200})?\)")
_REFERENCE = re.compile(r"!?\[([^\[\]]{1,300})\]\[[^\[\]]{0,100}\]")

_INLINE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Footnotes, and citations after a word or a mark.
        (r"\[\^[\w-]{1,40}\]:?", ""),
        ('(?<=[^\\W\\d_]|[.,;:!?"\u201d\u3002\uff0c])\\[\\d{1,3}(?:[,\u2013-] ?\\d{1,3}){0,5}\\]', ""),
        (r"<((?:https?://|mailto:)[^<>\s]{1,1000}|[^<>\s@]{1,100}@[^<>\s]{1,200})>", r"\1"),
        (r"(?i)<(?:br|hr)[ \t]*/?>|</(?:p|div|li|tr|td|th|h[1-6])>", ". "),
        (rf"(?i)</?(?:{_TAG_NAMES})(?:[ \t][^<>]{{0,500}})?/?>", ""),
        (r"(?<!\d)(\*{2,3})(?=\S)([^*]{1,400}?)(?<=\S)\1(?!\d)", r"\2"),
        (r"(?<![\w*])\*{1,3}(?=[^\s*])|(?<=[^\s*])\*{1,3}(?![\w*])", ""),
        (r"(?<!\w)_{1,3}(?=[^\s_])|(?<=[^\s_])_{1,3}(?!\w)", ""),
        (r"~~|`+", ""),
        (r"\$\$?(?=\S)([^$]{0,100}[\\^_=][^$]{0,100})(?<=\S)\$\$?(?!\d)", r"\1"),
        (r"[ \t]\|[ \t]", ", "),
        (r"\\([!-/:-@\[-`{-~])", r"\1"),
    )
)
_ENTITY = re.compile(r"&(?:#\d{1,6}|#x[0-9A-Fa-f]{1,5}|[A-Za-z]{2,8}\d?);")


def inline(text: str, known: re.Pattern[str] = NOTHING) -> str:
    """`text` without emoji and the signs of links, emphasis, code and HTML; what they are on stays.

    A control token, which `known` matches, is not what a link is on, though another may stand right behind it.
    """
    text = _LINK.sub(r"\1", _COMMENT.sub("", text))
    text = _REFERENCE.sub(lambda found: found[0] if known.match(found[0]) else found[1], text)
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    if "&" in text:
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
    return plain(text)
