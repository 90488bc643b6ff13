"""Where a sentence ends in a text that is still being written."""

from __future__ import annotations

from collections.abc import Iterator

from mlx_cosyvoice.text import split
from mlx_cosyvoice.text.spoken import markdown
from mlx_cosyvoice.text.spoken.sentences import ends

#: A sentence of more than so many bytes of UTF-8, about 120 token ids, is cut at the best place before.
LONGEST = 480

#: So many characters of a line tell what kind of line it is.
_LINE_BEGINS = 8


def size(text: str) -> int:
    """The bytes of UTF-8 of `text`: four make about one token id in most scripts."""
    return len(text.encode("utf-8"))


class Sentences:
    """Cuts text that comes in pieces into sentences; where, depends on the text and not on the pieces.

    A sentence is returned once its end is sure, which takes the first character of the next one: a full stop between
    digits, after an initial or an abbreviation, or any mark before a small letter ends none. A line end does at once,
    but where the line looks like one of a wrapped paragraph. What has no end for long is cut at a comma or blank.

    Attributes:
        pending: the beginning of the next sentence, as far as it is known.
    """

    def __init__(self) -> None:
        self.pending = ""
        self._column = 0  # of its first character

    def push(self, piece: str) -> Iterator[str]:
        """The sentences that are complete now that `piece` follows, with the blanks after them."""
        for start in range(0, len(piece), LONGEST):
            self.pending += piece[start : start + LONGEST]
            while end := self._end():
                yield self._take(end)

    def finish(self) -> str:
        """The last sentence, perhaps "". A new text may be pushed then."""
        rest, self.pending, self._column = self.pending, "", 0
        return rest

    def _take(self, end: int) -> str:
        sentence, self.pending = self.pending[:end], self.pending[end:]
        line = sentence.rfind("\n")
        self._column = end + self._column if line < 0 else end - line - 1
        return sentence

    def _end(self) -> int:
        """Where the first sentence ends; 0 where that is not known."""
        most = len(self.pending.encode("utf-8")[:LONGEST].decode("utf-8", "ignore"))
        text = self.pending[: most + 1]  # no more, so that nothing depends on how much there is
        end = self._end_in(text)
        if not end and len(text) > most:
            return len(next(split.parts(text, most)))
        return end

    def _end_in(self, text: str) -> int:
        start = 0
        while start < len(text):
            line_end = text.find("\n", start) + 1
            line = text[start : line_end or len(text)]
            for end in ends(line):
                if not line[end].islower():
                    return start + end
            if not line_end:
                return 0
            ended = self._ends(line.strip(), line_end - 1 - start + (0 if start else self._column), text[line_end:])
            if ended is not False:
                return line_end if ended else 0
            start = line_end
        return 0

    def _ends(self, line: str, columns: int, following: str) -> bool | None:
        """Whether a sentence ends with `line`, of which that many characters are known; None where it is too early."""
        if columns < markdown.shortest_wrapped(line) or len(line) + 1 in ends(f"{line} X"):
            return True
        begins, line_end, _ = following.partition("\n")
        if not line_end and len(begins) < _LINE_BEGINS:
            return None
        return markdown.classify(begins[:_LINE_BEGINS]).kind != "text"
