"""Which language a sentence is in: by its script, then by its commonest words and letters."""

from __future__ import annotations

import re

from mlx_cosyvoice.text.spoken.tables import tables

#: What numbers are spelled out in. Text in any other language keeps its digits.
SPELLED = ("zh", "en", "ja", "ko", "de", "fr", "es", "it", "pt")

#: Any other language.
OTHER = "other"

_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")
_KANA = re.compile("[\u3041-\u30fa\u30fc-\u30ff\uff66-\uff9f]")
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LATIN = re.compile("[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
_OTHER_SCRIPTS = re.compile("[\u0370-\u10ff\u1200-\u1cff\u1f00-\u1fff\u2c00-\u2dff\ua640-\uabff]{2,}")
_LETTER = "A-Za-z\u00c0-\u024f\u1e00-\u1eff"
#: Not what is part of an address, of a name with digits, or of an abbreviation.
_WORD = re.compile(f"(?<![\\w.@/&+-])[{_LETTER}]+(?:['\u2019-][{_LETTER}]+)*(?![\\w@/&+]|\\.\\w|\\.\\s+[a-z(])")

#: Characters that Chinese, Cantonese too, is full of and Japanese does without.
_CHINESE_ONLY = re.compile(
    "[\u7684\u4e86\u4eec\u5011\u8fd9\u9019\u5417\u55ce\u5462\u5427\u4e48\u9ebc\u8bf4\u8aaa\u4e2a\u8fd8\u9084\u6ca1"
    "\u6c92\u7ed9\u7d66\u4f60\u5979\u54ea\u554a\u55ba\u5497\u5605\u4f62\u54a9\u5514\u5728\u5f88\u548c\u8ba9\u4ece]"
)

_LANGUAGES_OF: dict[str, list[str]] = {}
for _language, _words in tables("languages").items():
    for _one in dict.fromkeys(_words.split()):
        _LANGUAGES_OF.setdefault(_one, []).append(_language)

#: Letters that hardly any other of the languages has.
_LETTERS = (
    ("de", re.compile("[\u00e4\u00f6\u00fc\u00c4\u00d6\u00dc\u00df]")),
    (
        "fr",
        re.compile(
            "[\u00e0\u00e2\u00e7\u00e8\u00ea\u00eb\u00ee\u00ef\u00f4\u00f9\u00fb\u0153]|"
            "\\b[cdjlmnst]['\u2019](?=[a-z\u00e0\u00e9\u00ea])|\\bqu['\u2019]"
        ),
    ),
    ("es", re.compile("[\u00f1\u00bf\u00a1]|[a-z]ci\u00f3n\\b")),
    ("pt", re.compile("[\u00e3\u00f5]|[a-z]\u00e7\u00e3o\\b|[a-z]\u00e7\u00f5es\\b")),
    ("it", re.compile("\\b(?:dell|nell|all|dall|sull|un)['\u2019]|[a-z](?:zione|zioni)\\b")),
    ("pl", re.compile("[\u0105\u0119\u0142\u015b\u017a\u017c\u0107\u0144]")),
    ("cs", re.compile("[\u011b\u0161\u010d\u0159\u017e\u016f]")),
    ("sv", re.compile("[\u00e5]")),
    ("ro", re.compile("[\u0103\u0219\u021b]")),
    ("hu", re.compile("[\u0151\u0171]")),
    ("tr", re.compile("[\u011f\u0131\u0130\u015f]")),
    ("vi", re.compile("[\u01a0-\u01b0\u1ea0-\u1ef9\u0111]")),
)


def detect(text: str, before: str | None = None) -> str | None:
    """The language of `text`: one of SPELLED or OTHER; None where it gives no sign and `before` is None.

    Args:
        text: a sentence or more.
        before: the language of what precedes it; holds where `text` says nothing, or nothing certain, by itself.
    """
    hangul, kana, han = (len(script.findall(text)) for script in (_HANGUL, _KANA, _HAN))
    latin = len(_LATIN.findall(text))
    if hangul and hangul >= han + kana and 4 * hangul >= latin:
        return "ko"
    if han + kana:
        by_words = _by_words(text) if latin > 3 * (han + kana) else None
        return by_words or _of_east_asia(text, kana, han, before)
    if sum(map(len, _OTHER_SCRIPTS.findall(text))) > latin:
        return OTHER
    found = _by_words(text) if latin else None
    return found or before


def _of_east_asia(text: str, kana: int, han: int, before: str | None) -> str:
    chinese = len(_CHINESE_ONLY.findall(text))
    if kana:
        return "zh" if chinese > kana or 10 * kana < han else "ja"
    return "ja" if before == "ja" and not chinese else "zh"


def _by_words(text: str) -> str | None:
    """The language in Latin script of which most signs are found; English where it has as many as any other."""
    scores: dict[str, float] = {}
    for word in _WORD.findall(text):
        # A capital alone is a name: E = mc.
        known = _LANGUAGES_OF.get(word if len(word) == 1 else word.lower(), ())
        for language in known:
            # A word that several languages share says less.
            scores[language] = scores.get(language, 0) + 1 / (1 + (len(known) > 2))
    for language, letters in _LETTERS:
        found = len(letters.findall(text))
        if found:
            # A foreign name has one such letter; English text keeps being English then.
            scores[language] = scores.get(language, 0) + min(found, 3) * 0.6
    english = scores.pop("en", 0)
    best = max(scores, key=lambda language: scores[language], default="en")
    score = scores.get(best, 0)
    if best not in SPELLED and score >= english + 2:
        return OTHER
    best = max((one for one in scores if one in SPELLED), key=lambda language: scores[language], default="en")
    if scores.get(best, 0) >= max(english + 0.5, 0.6):
        return best
    return "en" if english else None
