"""Parts of pronunciations that a text may spell in brackets, as `[j][\u01d0]` or `[R][EH1][D]`, in the order of ids."""

from __future__ import annotations

from itertools import product
from unicodedata import normalize

_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"

#: Of the CMU dictionary: vowels without and with stress (0 none, 1 primary, 2 secondary), and consonants.
PHONEMES = tuple(sorted([*map("".join, product(_VOWELS.split(), ("", "0", "1", "2"))), *_CONSONANTS.split()]))

_INITIALS = "b c ch d f g h j k l m n p q r s sh t w x y z zh"
#: Tones (0 has no mark) -> the finals that have them. Mandarin has more; those the model does not know.
_FINALS = {
    "01234": "a ai an ang ao e ei en eng i ian in ing iu o ong ou u uang ue un uo",
    "1234": "ia iang iao ie iong ua uai uan ui",
    "234": "er \u00fc",
    "4": "ve",
}
_MARKS = {"0": "", "1": "\u0304", "2": "\u0301", "3": "\u030c", "4": "\u0300"}


def toned(final: str, tone: str) -> str:
    """A final with its tone's mark, which stands on its a, o or e, else on its last vowel."""
    vowel = next(
        (letter for letter in "aoe" if letter in final), [letter for letter in final if letter in "iu\u00fc"][-1:]
    )
    return normalize("NFC", final.replace(vowel[0], vowel[0] + _MARKS[tone]))


#: Initials, and finals with each of their tones.
PINYIN = tuple(
    sorted(
        [
            *_INITIALS.split(),
            *(
                toned(final, tone)
                for tones, finals in _FINALS.items()
                for final, tone in product(finals.split(), tones)
            ),
        ]
    )
)
