"""Text that is still being written: made whole, and cut into what is normalized and spoken in one go."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator

from mlx_cosyvoice.text.clean import is_speakable
from mlx_cosyvoice.text.normalize import TextNormalizer
from mlx_cosyvoice.text.sentences import Sentences, size

# All in bytes of UTF-8, about four a token id. The first utterance is short, so that it is heard soon, and each may be
# twice as long as the one before: while one is heard, the next is written.
FIRST = 60
FULL = 240
MOST = 320

#: What is shorter is spoken with what came before: the model speaks a lone word badly.
REST = 20

#: Fewer bytes than these are seldom as many token ids as they stand for here.
_BYTES_AN_ID = 3

_COMMAS = ",\uff0c\u3001"
_UNREADABLE = re.compile("[\ud800-\udfff\ufffd]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def whole_pieces(pieces: Iterable[object]) -> Iterator[str]:
    """`pieces` with the halves of surrogate pairs joined, also across pieces; None counts as no text.

    What stands for characters that were lost (halves of their own, U+FFFD) is left out, with one warning.

    Raises:
        TypeError: a piece is not a str.
    """
    half, warned = "", False
    for piece in pieces:
        if piece is None:  # some clients of language models give it at the end
            continue
        if not isinstance(piece, str):
            raise TypeError(f"text must give str, not {type(piece).__name__}")
        text = half + piece
        half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        text = _joined(text[: len(text) - len(half)])
        readable = _UNREADABLE.sub("", text)
        if len(readable) < len(text) and not warned:
            warned = True
            _warn()
        if readable:
            yield readable
    if half and not warned:
        _warn()


def from_the_first_word(pieces: Iterable[str]) -> Iterator[str]:
    """`pieces`, held back until there is a letter or digit; nothing where there is none."""
    start = ""
    remaining = iter(pieces)
    for piece in remaining:
        start = start[-MOST:] + piece
        if is_speakable(start):
            yield start
            yield from remaining


def arriving_segments(pieces: Iterable[str], normalizer: TextNormalizer, transcript: int = 0) -> Iterator[str]:
    """Segments of a text that comes in pieces, normalized, each some sentences long and yielded as soon as possible.

    Each group of sentences is normalized as a whole text is. The same text gives the same segments however it is cut.

    Args:
        pieces: whole characters, as `whole_pieces` gives them.
        normalizer: of the text.
        transcript: how many token ids the prompt's transcript has; the first utterance is no shorter (upstream warns
            of texts that are much shorter).
    """
    least = min(FULL, max(FIRST, _BYTES_AN_ID * transcript))
    language = None
    for group in _groups(pieces, least):
        yield from normalizer.segments(group, language)
        language = normalizer.language(group, language)


def _groups(pieces: Iterable[str], least: int) -> Iterator[str]:
    """The text in groups of sentences, each with something to say."""
    sentences, group = Sentences(), _Group(least)
    for piece in pieces:
        for sentence in sentences.push(piece):
            following = size(sentence.strip())
            if group.has(group.enough) and (following >= REST or size(group.text) + following > MOST):
                yield group.take()
            group.add(sentence)
            if sentence.endswith("\n") and group.has(least):
                yield group.take()
        if group.has(group.enough) and size(sentences.pending.strip()) >= REST:
            yield group.take()
    group.text += sentences.finish()
    if is_speakable(group.text):
        yield group.text


class _Group:
    """Sentences that are spoken together."""

    def __init__(self, least: int) -> None:
        self.text, self.enough = "", least

    def add(self, sentence: str) -> None:
        if size(self.text) > MOST and not is_speakable(self.text):
            self.text = ""  # a rule across the page may be of any length
        self.text += sentence

    def has(self, least: int) -> bool:
        return size(self.text) >= least and is_speakable(self.text)

    def take(self) -> str:
        """The text, without a comma at its end, where a long sentence was cut; the next group is to be longer."""
        text, self.text, self.enough = self.text, "", min(FULL, 2 * self.enough)
        return text.rstrip().rstrip(_COMMAS)


def _joined(text: str) -> str:
    return _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)


def _warn() -> None:
    warnings.warn(
        "some characters of the text were lost before it came here (halves of surrogate pairs, or U+FFFD) and are left "
        "out: decode its bytes as UTF-8, and as a whole",
        stacklevel=3,
    )
