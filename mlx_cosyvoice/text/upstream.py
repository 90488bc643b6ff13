"""Text normalized as upstream does: wetext's rules for the whole text, where it has a digit.

What differs from `CosyVoiceFrontEnd.text_normalize`, on purpose:

- A text of more than 1,000 characters is spelled out in pieces of at most 400, cut at line and sentence ends.
- Control characters, byte order marks and other characters without sound or width are removed first.
- Control tokens such as `[laughter]` and `[EH1]` stay whole where wetext or inflect would spell them out, and words
  that make wetext fail stay as they are (see `spell_out`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, pairwise

from mlx_cosyvoice.text import clean, spell_out, split

#: Texts of more characters are spelled out piece by piece, so that the first of a book is ready at once.
WHOLE = 1000
PIECE = 400


def language_of(text: str) -> str:
    """ "zh" for text with a CJK ideograph, "en" for any other."""
    return "zh" if clean.contains_chinese(text) else "en"


def normalized(text: str, known: re.Pattern[str]) -> Iterator[str]:
    """The normalized text in pieces; a text that is not long is one piece.

    Text with a CJK ideograph (Chinese, Cantonese, most Japanese) goes the Chinese way: wetext's Chinese rules, no line
    ends, blanks between ASCII characters only, Chinese full stops. All other text (English, Korean, Japanese in kana
    alone) goes the English way: wetext's English rules, then English words for what digits are left. Control tokens,
    which `known` matches, stay whole.
    """
    language = language_of(text)
    text = clean.without_invisible(text).strip()
    raw = split.parts(text, PIECE) if len(text) > WHOLE else iter([text])
    if language == "en":
        for part in raw:
            yield spell_out.spell_out_digits(spell_out.spell_out_with_wetext(part, "en", known), known)
        return
    held = ""
    for part, following in pairwise(chain(raw, [""])):
        spelled = spell_out.spell_out_with_wetext(part, "zh", known)
        # Whether a blank at the end stays depends on what follows.
        cleaned = held + clean.clean_chinese(spelled + following[:1])[: -1 if following else None]
        kept = cleaned.rstrip("\uff0c,\u3001")
        held = cleaned[len(kept) :]
        yield kept
    yield clean.end_chinese(held)
