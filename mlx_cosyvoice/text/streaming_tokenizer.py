"""Tokens of a text that is still being written."""

from __future__ import annotations

import unicodedata

from mlx_cosyvoice.text.tokenizer import Span, TextTokenizer

#: The last word of the text so far may go on, so it is held back. In a script without blanks a "word" has no end in
#: sight: of one longer than this many characters only so many at its end are held back.
UNSPACED = 8
#: The same for words of scripts with blanks, and for runs of blanks or signs.
SPACED = 48


class StreamingTokenizer:
    """The token ids of text that comes in pieces, such as a language model's output.

    However the text is cut, the ids together are `tokenizer.encode(whole text)`. Upstream encodes each piece by
    itself, so that its ids depend on where the pieces happen to end: a word in two pieces is spelled with other tokens
    than the model was trained on, and half a control token is read out as letters.

    Held back until more is known, or `finish`: the last word (with a combining mark or a blank after it, which may
    change it) and the beginning of what may become a special token. Two bounds keep that short, and beyond them, in
    theory, the ids may differ from those of the whole text (they always spell the same text): of a run of letters in a
    script without blanks, as Chinese, Japanese or Thai, the last UNSPACED characters are held back, and of any other
    word, of blanks and of signs the last SPACED.

    Args:
        tokenizer: The model's.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = tokenizer.special_tokens
        self._beginnings = frozenset(token[:n] for token in self._special for n in range(1, len(token)))
        self._longest = max((len(token) for token in self._special), default=0)
        self._text = ""

    def push(self, piece: str) -> list[int]:
        """The ids that are settled now that `piece` follows what was pushed before; often none.

        Raises:
            ValueError: `piece` holds half a surrogate pair; it is left out, and the next may follow.
        """
        text = self._text + piece
        known = self._known(text)
        spans = self._tokenizer.spans(text[:known])
        settled = self._settled(text[:known], spans)
        end = spans[settled].start if settled < len(spans) else known
        self._text = text[end:]
        return [span.id for span in spans[:settled]]

    def finish(self) -> list[int]:
        """The ids of what was held back. A new text may be pushed then."""
        text, self._text = self._text, ""
        return self._tokenizer.encode(text)

    def _known(self, text: str) -> int:
        """Where what may be the beginning of a special token starts, or the end of `text`."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[start:] in self._beginnings:
                return start
        return len(text)

    def _settled(self, text: str, spans: list[Span]) -> int:
        """How many of `spans` nothing that follows `text` can change."""
        if text.endswith(self._special):
            return len(spans)
        first = _word_start(spans, len(spans) - 1) if spans else 0
        # Blanks before a last blank may join it.
        while 0 < first < len(spans) and text[spans[first].start : spans[first].end].isspace():
            if not text[spans[first - 1].start : spans[first - 1].end].isspace():
                break
            first = _word_start(spans, first - 1)
        # A mark that follows may melt into the last character that is no mark.
        while 0 < first < len(spans) and not _may_cut(text, spans[first].start):
            first = _word_start(spans, first - 1)
        return self._bounded(text, spans, first)

    def _bounded(self, text: str, spans: list[Span], first: int) -> int:
        """`first`, or a later one where more would be held back than the bounds allow."""
        if first == len(spans):
            return first
        held = text[spans[first].start :]
        most = UNSPACED if _is_unspaced(held) else SPACED
        if len(held) <= most:
            return first
        for index in range(len(spans) - 1, first, -1):
            start = spans[index].start
            if start > len(text) - most or start < spans[index - 1].end:
                continue
            # A mark stays with its letter, but thousands of marks in a row are no text.
            if _may_cut(text, start) or len(held) > 4 * most:
                return index
        return first


def _word_start(spans: list[Span], index: int) -> int:
    """The first token of the word to which the token at `index` belongs."""
    while index > 0 and spans[index - 1].word == spans[index].word:
        index -= 1
    return index


def _may_cut(text: str, at: int) -> bool:
    """Whether the characters on the two sides of `at` stay apart when the text is normalized (NFC)."""
    left, right = text[at - 1 : at], text[at : at + 1]
    together = unicodedata.normalize("NFC", left + right)
    return not unicodedata.combining(right) and together == (
        unicodedata.normalize("NFC", left) + unicodedata.normalize("NFC", right)
    )


def _is_unspaced(text: str) -> bool:
    """Whether the letters of `text` are of a script that is written without blanks between words."""
    letters = [character for character in text if character.isalpha()]
    return bool(letters) and all(
        "\u0e00" <= letter <= "\u0eff"  # Thai, Lao
        or "\u1000" <= letter <= "\u109f"  # Burmese
        or "\u1780" <= letter <= "\u17ff"  # Khmer
        or "\u3040" <= letter <= "\u30ff"  # kana
        or "\u31f0" <= letter <= "\u31ff"
        or "\u3400" <= letter <= "\u9fff"  # Chinese characters
        or "\uf900" <= letter <= "\ufaff"
        or letter >= "\U00020000"
        for letter in letters
    )
