"""Text made ready to be spoken, officially `CosyVoiceFrontEnd.text_normalize`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Protocol

from mlx_cosyvoice.text import clean, control, spell_out, split


class Encoder(Protocol):
    """What the normaliser needs of a `TextTokenizer`."""

    def encode(self, text: str) -> list[int]: ...


#: Texts of more characters are spelled out piece by piece, so that the first of a book is ready at once.
WHOLE = 1000
PIECE = 400

_WORDS = re.compile(r"\w{1,6}|[^\w\s]")


class TextNormalizer:
    """Numbers spelled out, text cleaned, and cut into segments that the LLM speaks one by one.

    Text with a CJK ideograph (Chinese, Cantonese, most Japanese) goes the Chinese way: wetext's Chinese rules, no
    line ends, blanks between ASCII characters only, Chinese full stops, lengths counted in characters. All other text
    (English, Korean, Japanese in kana alone) goes the English way: wetext's English rules, then English words for what
    digits are left, lengths counted in tokens. wetext is asked only where there is a digit.

    Segments are the official ones: at least 60 long where the next sentence would make them longer than 80, and none
    under 20 at the end. What differs from upstream, on purpose:

    - A sentence longer than 240 is cut at a comma, a blank, or anywhere (`split.LIMIT`).
    - A text of more than 1,000 characters is spelled out in pieces of at most 400, cut at line and sentence ends.
    - Control characters, byte order marks and other characters without sound or width are removed first.
    - Control tokens such as `[laughter]` stay whole where wetext would spell them out, and words that make wetext fail
      stay as they are (see `spell_out`).
    - Segments without a letter or digit are dropped; officially, only those of nothing but punctuation and symbols,
      without a blank. Emoji between words stay; the tokenizer can spell them.
    - What looks like a control token and is none is warned about.

    Text with `<|` and `|>` is official markup, which passes as it is, as all text does when the normaliser is off; it
    is cut only where it is longer than 240.

    Args:
        tokenizer: Counts the tokens of text that is not Chinese; without one the count is a guess.
        enabled: False switches normalisation off.
    """

    def __init__(self, tokenizer: Encoder | None = None, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[str]:
        """The segments of `text`; see `segments`."""
        return list(self.segments(text))

    def segments(self, text: str) -> Iterator[str]:
        """The segments of `text`, each when it is asked for: the first of a long text is ready at once.

        Raises (at once):
            ValueError: there is nothing to say in `text`, or it is no Unicode text.
        """
        text = clean.whole_characters(text)
        if not clean.is_speakable(text):
            what = "the text has no letter or digit" if text.strip() else "the text is empty"
            raise ValueError(f"nothing to say: {what}")
        control.warn_of_unknown_control_tokens(text)
        language = self._language(text)
        if self._passes(text):
            return split.bounded(text, self._length(language))
        return split.segments(_pieces(text, language), language, self._length(language))

    def whole(self, text: str) -> str:
        """`text` normalised but not cut, for the transcript of a prompt; "" where there is nothing in it.

        Raises:
            ValueError: `text` is no Unicode text.
        """
        text = clean.whole_characters(text)
        control.warn_of_unknown_control_tokens(text)
        return text if self._passes(text) else "".join(_pieces(text, self._language(text)))

    def _passes(self, text: str) -> bool:
        return not self.enabled or ("<|" in text and "|>" in text)

    @staticmethod
    def _language(text: str) -> str:
        return "zh" if clean.contains_chinese(text) else "en"

    def _length(self, language: str) -> split.Length:
        if language == "zh":
            return len
        tokenizer = self._tokenizer
        return _guessed_tokens if tokenizer is None else lambda text: len(tokenizer.encode(text))


def _guessed_tokens(text: str) -> int:
    return sum(1 for _ in _WORDS.finditer(text))


def _pieces(text: str, language: str) -> Iterator[str]:
    """The normalised text in pieces; a text that is not long is one piece."""
    text = clean.without_invisible(text).strip()
    raw = split.parts(text, PIECE) if len(text) > WHOLE else iter([text])
    if language == "en":
        for part in raw:
            yield spell_out.spell_out_digits(spell_out.spell_out_with_wetext(part, "en"))
        return
    held = ""
    for part, following in pairwise(chain(raw, [""])):
        spelled = spell_out.spell_out_with_wetext(part, "zh")
        # Whether a blank at the end stays depends on what follows.
        cleaned = held + clean.clean_chinese(spelled + following[:1])[: -1 if following else None]
        kept = cleaned.rstrip("\uff0c,\u3001")
        held = cleaned[len(kept) :]
        yield kept
    yield clean.end_chinese(held)
