"""Token ids of a text that is still being written, as they become known, cut into utterances at ends of sentences."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from mlx_cosyvoice.text import StreamingTokenizer, TextTokenizer

#: An utterance ends at the first end of a sentence after this many ids; `split_paragraph` cuts whole texts there too.
TOKEN_MAX = 80

_SENTENCES = re.compile(r"[^。！？.!?\n]*(?:[。！？.!?\n]+|$)")


class ArrivingUtterance(Iterator[int]):
    """The token ids of one utterance.

    Attributes:
        ended: its text has arrived as a whole; true before its last ids are returned.
    """

    def __init__(self, ids: Callable[[ArrivingUtterance], Iterator[int]]) -> None:
        self.ended = False
        self._ids = ids(self)

    def __next__(self) -> int:
        return next(self._ids)


class ArrivingText:
    """Cuts pieces of text of any length, a character or a page, into utterances.

    Upstream makes one utterance of a generator, however long it is; its language model was trained on sentences.

    Args:
        pieces: texts, read no earlier than needed.
        tokenizer: text to ids.
        token_max: ids after which an utterance may end.

    Raises:
        TypeError: (while iterating) a piece is not a str.
    """

    def __init__(self, pieces: Iterable[str], tokenizer: TextTokenizer, *, token_max: int = TOKEN_MAX) -> None:
        self._parts = _parts(pieces)
        self._tokenizer, self._token_max = tokenizer, token_max
        self._next: str | None = None

    def utterances(self) -> Iterator[ArrivingUtterance]:
        """Token ids, utterance by utterance; each must be read to its end before the next."""
        while self._skip_blank():
            yield ArrivingUtterance(self._utterance)

    def _skip_blank(self) -> bool:
        """Move to what there is to say next; False if nothing comes any more."""
        for part in chain([] if self._next is None else [self._next], self._parts):
            if part.strip():
                self._next = part.lstrip()
                return True
        self._next = None
        return False

    def _utterance(self, utterance: ArrivingUtterance) -> Iterator[int]:
        ids, count = StreamingTokenizer(self._tokenizer), 0
        assert self._next is not None
        part: str | None = self._next
        self._next = None
        before = ""
        while part is not None:
            if count >= self._token_max and _ends_sentence(before, part):
                self._next = part
                break
            for token in ids.push(part):
                count += 1
                yield token
            before = part
            part = next(self._parts, None)
        utterance.ended = True
        yield from ids.finish()


def _parts(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces, cut after every mark that may end a sentence."""
    for piece in pieces:
        if not isinstance(piece, str):
            raise TypeError(f"text must give str, not {type(piece).__name__}")
        yield from (part for part in _SENTENCES.findall(piece) if part)


def _ends_sentence(before: str, after: str) -> bool:
    """Whether a sentence ends between the two: a full stop between digits, say, ends none."""
    mark = before[-1:]
    return mark in "。！？\n" or (mark in ".!?" and after[:1].isspace())
