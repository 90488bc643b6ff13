"""A sentence as it is said in its language: the rules in their order."""

from __future__ import annotations

import importlib
import re
from functools import cache

from mlx_cosyvoice.text import clean
from mlx_cosyvoice.text.spoken import addresses, amounts, compounds, maths, moments, phones
from mlx_cosyvoice.text.spoken.speaker import Speaker

#: Imported when there is something to say in that language.
_SPEAKERS = {
    "en": "english:English", "zh": "chinese:Chinese", "ja": "japanese:Japanese", "ko": "korean:Korean",
    "de": "german:German",
    "fr": "romance:French", "es": "romance:Spanish", "it": "romance:Italian", "pt": "romance:Portuguese",
}  # fmt: skip

_BLANKS = re.compile("[ \\t\\n\u00a0\u2000-\u200a\u202f\u205f\u3000]+")
_BEFORE_MARK = re.compile("(?<=[\\w\"'\u201d)\\]]) +(?=[,.;:!?](?:\\s|$))")
_TWO_MARKS = re.compile(r",(?: ?,)+|(?<=[.!?;:,]) ,|,(?= ?[.!?])")


def spoken(sentence: str, language: str, known: re.Pattern[str]) -> str:
    """What is said for `sentence`; blanks at its ends are kept as one, and what `known` matches as it is."""
    speaker = speaker_of(language)
    result, end = [], 0
    for token in known.finditer(sentence):
        result += [_part(sentence[end : token.start()], speaker), token[0]]
        end = token.end()
    text = "".join([*result, _part(sentence[end:], speaker)])
    if language not in ("zh", "ja"):
        return text
    # The blank at its end stays after a Latin letter: the next sentence may be English.
    return clean.clean_chinese(text) + (" " if re.search("[A-Za-z0-9] $", text) else "")


@cache
def speaker_of(language: str) -> Speaker | None:
    """The speaker of a language; None for one that keeps its digits."""
    name = _SPEAKERS.get(language)
    if name is None:
        return None
    module, _, kind = name.partition(":")
    speaker: Speaker = getattr(importlib.import_module(f"mlx_cosyvoice.text.spoken.{module}"), kind)()
    return speaker


def _part(text: str, speaker: Speaker | None) -> str:
    if speaker is not None:
        text = addresses.spell(text, speaker)
        text = speaker.prepare(text)
        text = phones.spell(text, speaker)
        text = moments.spell(text, speaker)
        text = speaker.after_times(text)
        text = maths.about(text, speaker)
        text = amounts.spell(text, speaker)
        text = compounds.spell(text, speaker)
        text = maths.spell(text, speaker)
        text = speaker.tidy(speaker.finish(text))
    text = _BLANKS.sub(" ", text)
    return _TWO_MARKS.sub(
        lambda found: found[0][0] if found[0][0] == "," and len(found[0]) > 1 else "", _BEFORE_MARK.sub("", text)
    )
