"""Where a sentence ends in a text that is still being written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from mlx_cosyvoice.text import split

#: A sentence of more than so many bytes of UTF-8, about 120 token ids, is cut at the best place before.
LONGEST = 480

#: A line of so many characters that ends without a mark is taken for a wrapped one, whose sentence goes on.
WRAPPED = 60

_WIDE_MARKS = "\u3002\uff01\uff1f\uff61"  # those of Chinese and Japanese, which need no blank after them
_ENDS = re.compile(f"[.!?\u2026\u0964\u0965\u061f\u06d4{_WIDE_MARKS}]+|\n")

# What may stand between a mark and the blank: quotes, brackets, emoji, markdown, a closing control token.
_CLOSING_TOKEN = re.compile("</[a-z]{1,12}>")
_CLOSING_TOKEN_BEGUN = re.compile("<(?:/[a-z]{0,12})?")
_MOST_CLOSING = 24

_BLANKS = re.compile(r"\s*")
_LAST_WORD = re.compile(r"(?:\w|\.(?=\w)){1,12}\Z")
_LISTED = frozenset("-*#\u2022\u2013>|+")

#: A full stop after these ends no sentence.
_ABBREVIATION = re.compile(
    "mr|mrs|ms|mx|dr|prof|st|gen|sen|rep|gov|lt|col|capt|sgt|rev|hon|vs|cf|viz|approx|e\\.g|i\\.e|eg|ie|ph\\.d"
    "|hr|fr|z\\.b|d\\.h|u\\.a|bzw|ggf|evtl|inkl|ca|mme|mlle|sra|dra"
)
#: Nor after these before a number.
_BEFORE_NUMBER = re.compile("nos?|nr|num|figs?|eq|vol|pp|ch|sec|art|op")

#: What cannot be decided before more text is there.
_UNKNOWN = -1


def size(text: str) -> int:
    """The bytes of UTF-8 of `text`: four make about one token id in most scripts, and no id takes none."""
    return len(text.encode("utf-8"))


class Sentences:
    """Cuts text that comes in pieces into sentences; where, depends on the text and not on the pieces.

    A sentence is given out once its end is sure, which often takes the first character of the next one: a full stop
    between digits, after an initial or an abbreviation, or before a small letter ends none. A line end does, but where
    the line looks wrapped. What has no end for long is cut at a comma or blank.

    Attributes:
        pending: the beginning of the next sentence, as far as it is known.
    """

    def __init__(self) -> None:
        self.pending = ""
        self._column = 0  # of its first character

    def push(self, piece: str) -> Iterator[str]:
        """The sentences that are complete now that `piece` follows; all together they are the text."""
        for start in range(0, len(piece), LONGEST):
            self.pending += piece[start : start + LONGEST]
            while (end := self._end()) != _UNKNOWN:
                yield self._take(end)

    def finish(self) -> str:
        """The last sentence, perhaps "". A new text may be pushed then."""
        rest, self.pending, self._column = self.pending, "", 0
        return rest

    def _take(self, end: int) -> str:
        sentence, self.pending = self.pending[:end], self.pending[end:]
        self._column = self._columns(sentence, end)
        return sentence

    def _columns(self, text: str, at: int) -> int:
        """How long the line is up to `at` in `text`, which begins where `pending` does."""
        line = text.rfind("\n", 0, at)
        return at + self._column if line < 0 else at - line - 1

    def _end(self) -> int:
        text = self.pending
        most = len(text.encode("utf-8")[:LONGEST].decode("utf-8", "ignore"))
        for found in _ENDS.finditer(text):
            if found.start() >= most:
                break
            end = self._line_end(found.start()) if found[0] == "\n" else _sentence_end(text, *found.span())
            if end is not None:
                return end
        return len(next(split.parts(text[: most + 1], most))) if most < len(text) else _UNKNOWN

    def _line_end(self, at: int) -> int | None:
        """Where the sentence ends with the line end at `at`, before which no mark stands; None where it goes on."""
        if self._columns(self.pending, at) < WRAPPED:
            return at + 1
        blanks, following = _blanks(self.pending, at + 1)
        if "\n" in blanks or len(blanks) >= LONGEST:
            return at + 1
        if not following:
            return _UNKNOWN
        return at + 1 if following in _LISTED else None


def _sentence_end(text: str, start: int, end: int) -> int | None:
    """Where the sentence ends whose marks are `text[start:end]`; None where it goes on."""
    if end - start >= LONGEST:
        return None
    after = _closing(text, end)
    if after in (_UNKNOWN, len(text)):
        return _UNKNOWN
    if text[end - 1] in _WIDE_MARKS:
        return after + (text[after] == "\n")
    blanks, following = _blanks(text, after)
    if not blanks:
        return after if _ends_between_wide(text, start, end, following) else None
    if "\n" in blanks:
        return None if _is_abbreviation(text, start, end, "\n") else after + blanks.index("\n") + 1
    if len(blanks) >= LONGEST:
        return after
    if not following:
        return _UNKNOWN
    return None if following.islower() or _is_abbreviation(text, start, end, following) else after


def _blanks(text: str, at: int) -> tuple[str, str]:
    """The blanks from `at` on, and the character after them."""
    found = _BLANKS.match(text, at)
    assert found
    return found[0], text[found.end() : found.end() + 1]


def _closing(text: str, at: int) -> int:
    """The place after the quotes, brackets, emoji and the like that follow a mark."""
    start = at
    while at < len(text) and at - start < _MOST_CLOSING:
        token = _CLOSING_TOKEN.match(text, at)
        kind = unicodedata.category(text[at])
        if token:
            at = token.end()
        elif text[at] == "<":
            return _UNKNOWN if _CLOSING_TOKEN_BEGUN.fullmatch(text, at) else at
        elif text[at].isalnum() or text[at].isspace() or kind == "Ps":
            return at
        elif kind != "Pi":
            at += 1
        elif at + 1 == len(text):
            return _UNKNOWN
        elif text[at + 1].isspace():  # a German closing quote is an English opening one
            at += 1
        else:
            return at
    return at


def _ends_between_wide(text: str, start: int, end: int, following: str) -> bool:
    """Whether ASCII marks without a blank after them end a Chinese, Japanese or Korean sentence."""
    sides = [_is_wide(text[start - 1 : start]), _is_wide(following)]
    return any(sides) if text[end - 1] in "!?" else text[end - 1] == "." and all(sides)


def _is_wide(character: str) -> bool:
    return character.isalpha() and unicodedata.east_asian_width(character) == "W"


def _is_abbreviation(text: str, start: int, end: int, following: str) -> bool:
    """Whether the full stop belongs to the word before it."""
    word = _LAST_WORD.search(text, max(0, start - 16), start)
    if text[start:end] != "." or not word:
        return False
    said = word[0].lower()
    if _ABBREVIATION.fullmatch(said) or (_BEFORE_NUMBER.fullmatch(said) and following.isdigit()):
        return True
    if following == "\n":
        return False
    if len(said) == 1 and said.isalpha():
        return said != "i" and not _is_wide(said)
    begins = not any(map(str.isalnum, text[: word.start()]))
    return begins and said.isdecimal() and len(said) <= 3  # the number of an item in a list
