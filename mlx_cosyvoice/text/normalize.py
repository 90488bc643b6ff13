"""Text made ready to be spoken, officially `CosyVoiceFrontEnd.text_normalize`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Protocol

from mlx_cosyvoice.text import clean, split, spoken, upstream
from mlx_cosyvoice.text.control import ControlTokens

#: The ways of normalizing: as people would say it, as upstream does, not at all.
MODES = ("spoken", "upstream", "off")

_WORDS = re.compile(r"\w{1,6}|[^\w\s]")
_UNSPACED = re.compile("[\u3041-\u30ff\u3400-\u9fff]")


class Encoder(Protocol):
    """What the normalizer needs of a `TextTokenizer`."""

    def encode(self, text: str) -> list[int]: ...


class TextNormalizer:
    """Numbers, signs and markdown in words, cut into segments that the LLM speaks one by one.

    There are three modes. "spoken" reads what people would say, in the text's language: see `mlx_cosyvoice.text.spoken`
    for what it does otherwise than upstream, and why. "upstream" does as upstream: see `mlx_cosyvoice.text.upstream`.
    "off" leaves the text as it is.

    Segments are the official ones: at least 60 long where the next sentence would make them longer than 80, and none
    under 20 at the end; Chinese and Japanese text is measured in characters, other text in tokens. What differs from
    upstream, on purpose, in all modes:

    - A sentence longer than 240 is cut at a comma, a blank, or anywhere (`split.LIMIT`).
    - Segments without a letter or digit are dropped; officially, only those of nothing but punctuation and symbols,
      without a blank.
    - What looks like a control token and is none is warned about.

    Text with `<|` and `|>` is official markup, which passes as it is, as all text does when the normalizer is off; it
    is cut only where it is longer than 240.

    Args:
        tokenizer: Counts the tokens of text that is not Chinese; without one the count is a guess.
        enabled: one of MODES; True stands for "spoken", False for "off".
        control: the special tokens of the model.

    Raises:
        ValueError: there is no such mode.
    """

    def __init__(
        self, tokenizer: Encoder | None = None, *, enabled: bool | str = True, control: ControlTokens | None = None
    ) -> None:
        self.mode = mode_of(enabled)
        self._control = ControlTokens() if control is None else control
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[str]:
        """The segments of `text`; see `segments`."""
        return list(self.segments(text))

    def segments(self, text: str, language: str | None = None) -> Iterator[str]:
        """The segments of `text`, each when it is asked for: the first of a long text is ready at once.

        Args:
            text: what to say.
            language: where `text` is a part of a longer one, what `language` says of the text before.

        Raises (at once):
            ValueError: there is nothing to say in `text`, or it is no Unicode text.
        """
        text = clean.whole_characters(text)
        if not clean.is_speakable(text):
            what = "the text has no letter or digit" if text.strip() else "the text is empty"
            raise ValueError(f"nothing to say: {what}")
        self._warn(text)
        cut_as = self._split_language(text)
        if self._passes(text):
            return split.bounded(text, self._length(cut_as))
        return split.segments(self._normalized(text, language), cut_as, self._length(cut_as))

    def whole(self, text: str) -> str:
        """`text` normalized but not cut, for the transcript of a prompt; "" where there is nothing in it.

        Raises:
            ValueError: `text` is no Unicode text.
        """
        text = clean.whole_characters(text)
        self._warn(text)
        return text if self._passes(text) else "".join(self._normalized(text))

    @staticmethod
    def language(text: str, before: str | None = None) -> str | None:
        """The language of the last sentence of `text` that shows one, such as "en", "zh" or "other"; else `before`."""
        for sentence in spoken.sentences(text):
            before = spoken.detect(sentence, before)
        return before

    def _normalized(self, text: str, language: str | None = None) -> Iterator[str]:
        if self.mode == "upstream":
            return upstream.normalized(text, self._control.known)
        return _single_blanks(spoken.speak(clean.without_invisible(text), self._control.known, language))

    def _passes(self, text: str) -> bool:
        return self.mode == "off" or ("<|" in text and "|>" in text)

    def _split_language(self, text: str) -> str:
        if self.mode == "spoken":
            return "zh" if _UNSPACED.search(text) else "en"
        return upstream.language_of(text)

    def _warn(self, text: str) -> None:
        if self.mode == "spoken" and not self._passes(text) and self._control.unknown(text):
            # A link's words and the tags of HTML look like control tokens before they are read.
            text = "".join(spoken.sentences(text, self._control.known))
        self._control.warn(text)

    def _length(self, language: str) -> split.Length:
        if language == "zh":
            return len
        tokenizer = self._tokenizer
        return _guessed_tokens if tokenizer is None else lambda text: len(tokenizer.encode(text))


def _single_blanks(pieces: Iterable[str]) -> Iterator[str]:
    """`pieces` with one blank between two where either has some, and none at the ends of the text."""
    begun = blank = False
    for piece in pieces:
        bare = piece.strip()
        if bare:
            yield f" {bare}" if begun and (blank or piece[0].isspace()) else bare
            begun, blank = True, False
        blank = blank or piece[-1:].isspace()


def mode_of(enabled: bool | str) -> str:
    """The one of MODES that `enabled` means.

    Raises:
        ValueError: it means none.
    """
    mode = ("spoken" if enabled else "off") if isinstance(enabled, bool) else enabled
    if mode not in MODES:
        raise ValueError(f"normalize={enabled!r}: must be True or one of {', '.join(map(repr, MODES))}, or False")
    return mode


def _guessed_tokens(text: str) -> int:
    return sum(1 for _ in _WORDS.finditer(text))
