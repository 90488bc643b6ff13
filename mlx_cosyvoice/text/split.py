"""Text cut into what the LLM speaks in one go, officially `cosyvoice.utils.frontend_utils.split_paragraph`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from mlx_cosyvoice.text.clean import is_speakable

#: Officially no segment is cut off before it is longer than TOKEN_MIN and the next sentence would make it longer than
#: TOKEN_MAX, and a last one shorter than MERGE joins the one before it. Characters in Chinese text, else tokens.
TOKEN_MAX = 80
TOKEN_MIN = 60
MERGE = 20

#: Officially a sentence may be of any length. Ours are cut here: the LLM gives at most 20 speech tokens for a token of
#: text, so 240 make at most 192 s, which with a prompt of 30 s stays within the flow's noise of 300 s.
LIMIT = 240

#: A sentence longer than this many characters is cut before it is measured.
WINDOW = 8 * LIMIT

_SENTENCE_ENDS = {"zh": "\u3002\uff1f\uff01\uff1b\uff1a\u3001.?!;", "en": ".?!;:"}
_FULL_STOP = {"zh": "\u3002", "en": "."}
_CLOSING_QUOTES = '"\u201d'

# Where to cut, best first: a line or sentence end, a comma or dash, a blank. The second kind may stand in a number.
_BREAKS = tuple(
    re.compile(pattern)
    for pattern in (
        '[\u3002\uff1f\uff01\uff1b\uff1a]+["\u201d\u300d\u300f]*|[.?!;:]["\u201d]?(?=\\s)\\s*|\n\\s*',
        "[\uff0c\u3001]|,(?!\\d)|[\u2014\u2026]+",
        "\\s+",
    )
)
_UNBREAKABLE = re.compile(r"[\[<][^\[\]<>\s]{1,40}[\]>]")
_JOINS_BOTH_SIDES = "\u200d"
_JOINS_LEFT = re.compile("[\u0300-\u036f\u200d\u20d0-\u20ff\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")

Length = Callable[[str], int]


def segments(pieces: Iterable[str], language: str, length: Length) -> Iterator[str]:
    """The segments of a text that comes in pieces, each as soon as the one after it is known.

    Where no sentence is longer than LIMIT these are the official ones. Those with nothing to say are left out.

    Args:
        pieces: The text, cut anywhere.
        language: "zh" or "en", which says what ends a sentence.
        length: What TOKEN_MAX, TOKEN_MIN, MERGE and LIMIT count.
    """
    for segment in _merged(_sentences(pieces, language), length):
        if is_speakable(segment):
            yield from filter(is_speakable, bounded(segment, length))


def bounded(text: str, length: Length) -> Iterator[str]:
    """`text`, cut where it is longer than LIMIT or WINDOW characters: at a sentence end, comma or blank if possible."""
    for part in parts(text, WINDOW):
        rest = part
        while (total := length(rest)) > LIMIT and len(rest) > 1:
            room = LIMIT if total > 2 * LIMIT else (total + 1) // 2
            at = _cut(rest, max(1, len(rest) * room // total))
            while at > 1 and length(rest[:at]) > LIMIT:
                at = _cut(rest, at * 3 // 4)
            yield rest[:at]
            rest = rest[at:]
        if rest:
            yield rest


def parts(text: str, most: int) -> Iterator[str]:
    """`text` in parts of at most `most` characters, cut at the best place in the second half of each."""
    start = 0
    while len(text) - start > most:
        at = _cut(text[start : start + most + 50], most)
        yield text[start : start + at]
        start += at
    yield text[start:]


def _sentences(pieces: Iterable[str], language: str) -> Iterator[str]:
    """The sentences with what ends them; the text's last one gets a full stop if it has none.

    A closing quote goes with the sentence before it; of several sentence ends in a row the first stays.
    """
    ends = _SENTENCE_ENDS[language]
    done = ""
    current: list[str] = []
    after_end = False
    for piece in pieces:
        for character in piece:
            if after_end and done and character in _CLOSING_QUOTES:
                done += character
                after_end = False
                continue
            after_end = character in ends
            if not after_end:
                current.append(character)
                if len(current) == WINDOW:
                    *cut, rest = parts("".join(current), WINDOW - 1)
                    yield done
                    done = "".join(cut)
                    current = list(rest)
            elif current:
                yield done
                done = "".join(current) + character
                current = []
    yield done
    if current:
        yield "".join(current) + _FULL_STOP[language]


def _merged(sentences: Iterable[str], length: Length) -> Iterator[str]:
    """Sentences joined into segments of the official length."""
    done = current = ""
    for sentence in sentences:
        if length(current) > TOKEN_MIN and length(current + sentence) > TOKEN_MAX:
            if done:
                yield done
            done, current = current, ""
        current += sentence
    if current and done and length(current) < MERGE:
        done, current = done + current, ""
    if done:
        yield done
    if current:
        yield current


def _cut(text: str, most: int) -> int:
    """The best place for a cut, at most `most` and, where there is a choice, at least half of it."""
    for pattern in _BREAKS:
        ends = [found.end() for found in pattern.finditer(text, most // 2) if found.end() <= most]
        if ends and ends[-1] > 0:
            return ends[-1]
    at = most
    while at > 1 and (_JOINS_LEFT.match(text, at) or text[at - 1] == _JOINS_BOTH_SIDES):
        at -= 1
    if at <= 1:
        at = most
    for found in _UNBREAKABLE.finditer(text, max(0, at - 42)):
        if found.start() < at < found.end():
            return found.start() or at
    return at
