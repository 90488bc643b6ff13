"""Numbers, dates, units and the like spelled out, by the packages that the official frontend uses: wetext and inflect.

Both take seconds to import and are imported when there is something to spell out.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable
from typing import Any

_NOTHING = re.compile("(?!)")
_DIGIT = re.compile(r"\d")
_BLANKS = re.compile(r"[ \t\n\r\xa0]+")
_WORDS = re.compile(r"\S+")
_ESCAPED = re.compile(r'\\(["\\])')


def spell_out_with_wetext(text: str, language: str, known: re.Pattern[str] = _NOTHING) -> str:
    """`text` as `wetext.Normalizer` says it, blanks at its ends kept; unchanged where it has no digit.

    Upstream's pinned wetext 0.0.4 does nothing without a digit, and so nothing is done here with later ones either.
    Four faults of wetext are worked round. What it refuses (officially an AssertionError ends the call: digits beside
    most letters that are not English) stays as it is, word by word. Control tokens that it would spell out or refuse
    are left out of its input. The backslashes that it puts before quotes go. A line end between English words
    counts as a blank, where wetext at times joins the words.

    Args:
        text: What to say.
        language: "zh" or "en".
        known: matches control tokens.
    """
    if not _DIGIT.search(text):
        return text
    normalize = _wetext(language)
    if normalize is None:
        return text
    spelled = _attempt(normalize, text, language)
    tokens = known.findall(text)
    if tokens and (spelled is None or known.findall(spelled) != tokens):
        return _between(known, text, lambda part: spell_out_with_wetext(part, language))
    return _by_words(normalize, text, language) if spelled is None else spelled


def spell_out_digits(text: str, known: re.Pattern[str] = _NOTHING) -> str:
    """`text` with each run of digits as the English words of `inflect`.

    Officially raised and circled digits count as digits and come out as "zero"; here they stay. So do those of control
    tokens, which `known` matches. A number too great for words, officially an error, is said digit by digit.
    """
    if not any(character.isdecimal() for character in text):
        return text
    return _between(known, text, lambda part: _DIGIT_RUN.sub(lambda found: _number_words(found[0]), part))


_DIGIT_RUN = re.compile(r"\d+")


def _number_words(digits: str) -> str:
    import inflect

    engine = _inflect()
    try:
        return str(engine.number_to_words(digits))
    except inflect.NumOutOfRangeError:
        return " ".join(str(engine.number_to_words(digit)) for digit in digits)


@functools.cache
def _inflect() -> Any:
    import inflect

    return inflect.engine()


@functools.cache
def _wetext(language: str) -> Callable[[str], str] | None:
    """wetext's function for `language`; None, with a warning, where it does not work."""
    try:
        from wetext import Normalizer

        normalizer = Normalizer(lang=language, operator="tn", remove_erhua=False)
        normalizer.normalize("1")
    except Exception as error:  # a missing or broken native library, graph file or version: speech goes on without
        warnings.warn(
            f"wetext does not work here, so dates, units and Chinese numbers are not spelled out ({error!r}); "
            "try: pip install --force-reinstall wetext",
            stacklevel=2,
        )
        return None
    return normalizer.normalize  # type: ignore[no-any-return]


def _attempt(normalize: Callable[[str], str], text: str, language: str) -> str | None:
    """What wetext makes of `text`; None where it refuses it."""
    body = text.strip()
    if not _DIGIT.search(body):
        return text
    compact = _BLANKS.sub(" ", body) if language == "en" else body
    try:
        spelled = normalize(compact)
    except AssertionError:
        return None
    if not spelled:
        return None
    if spelled.count("\\") > compact.count("\\"):
        spelled = _ESCAPED.sub(r"\1", spelled)
    start = text.index(body)
    return text[:start] + spelled + text[start + len(body) :]


def _by_words(normalize: Callable[[str], str], text: str, language: str) -> str:
    """As `spell_out_with_wetext` for a text that wetext refuses: without the words that it refuses."""
    words = list(_WORDS.finditer(text))
    if len(words) < 2:
        return text
    refused = [word for word in words if _attempt(normalize, word[0], language) is None]
    if not refused:
        half = words[len(words) // 2].start()
        return spell_out_with_wetext(text[:half], language) + spell_out_with_wetext(text[half:], language)
    result, end = [], 0
    for word in refused:
        result += [spell_out_with_wetext(text[end : word.start()], language), word[0]]
        end = word.end()
    return "".join([*result, spell_out_with_wetext(text[end:], language)])


def _between(pattern: re.Pattern[str], text: str, function: Callable[[str], str]) -> str:
    """`text` with what stands between the matches of `pattern` replaced by what `function` makes of it."""
    result, end = [], 0
    for found in pattern.finditer(text):
        result += [function(text[end : found.start()]), found[0]]
        end = found.end()
    return "".join([*result, function(text[end:])])
