"""Whether a transcript can be what is said in a recording: how fast people speak, by script."""

from __future__ import annotations

import re
import unicodedata

from mlx_cosyvoice.text.control import LOOKS_LIKE_ONE

#: Start of a character's Unicode name -> (most, fewest) of them that people say in a second, far from what is usual.
#: Letters of all other scripts: 30 are 350 English words a minute; 1.5 leave room for long pauses.
_PACE = (
    ("CJK", (11.0, 0.5)),
    ("HIRAGANA", (15.0, 0.75)),
    ("KATAKANA", (15.0, 0.75)),
    ("HANGUL", (12.0, 0.5)),
    ("BOPOMOFO", (25.0, 1.0)),
)
_LETTERS = (30.0, 1.5)
#: A digit is a syllable in some languages, and two words in others.
_DIGITS = (12.0, 0.4)
#: Seconds without speech that any recording may have.
_PAUSES = 4.0


def speaking_seconds(text: str) -> tuple[float, float]:
    """How long people take to say `text` at least, and at most with pauses. Signs and control tokens take no time."""
    least = most = 0.0
    for sign in re.sub(LOOKS_LIKE_ONE, " ", text):
        if pace := _pace(sign):
            least += 1 / pace[0]
            most += 1 / pace[1]
    return least, most + _PAUSES


def mismatch(transcript: str, seconds: float) -> str | None:
    """Why `transcript` can hardly be what is said in a recording of that length, or None where it can."""
    least, most = speaking_seconds(transcript)
    if not least:
        return f"the transcript has nothing that can be spoken, but the recording has {seconds:.1f} s"
    if seconds < least:
        return (
            f"the transcript takes at least {least:.1f} s to say, but the recording has {seconds:.1f} s; it must be "
            "what is said in this recording, and no more"
        )
    if seconds > most:
        return (
            f"the transcript takes at most {most:.1f} s to say, but the recording has {seconds:.1f} s; it must be all "
            "that is said in it"
        )
    return None


def _pace(sign: str) -> tuple[float, float] | None:
    if sign.isascii():
        return _DIGITS if sign.isdigit() else _LETTERS if sign.isalpha() else None
    if sign.isnumeric() and not sign.isalpha():
        return _DIGITS
    if not sign.isalpha():
        return None
    name = unicodedata.name(sign, "")
    return next((pace for start, pace in _PACE if name.startswith(start)), _LETTERS)
