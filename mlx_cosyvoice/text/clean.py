"""What is done to text besides spelling out numbers, officially in `cosyvoice.utils.frontend_utils`."""

from __future__ import annotations

import re

_CHINESE = re.compile("[\u4e00-\u9fff]")

# Invisible: control characters but tab and line feed, soft hyphen, zero-width space, marks of direction, word joiner,
# byte order mark. The zero-width joiners stay: emoji, Persian and Indic scripts are spelled with them.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")

_ASCII_BUT_SPACE = "[\x00-\x1f!-\x7f]"
_NEEDLESS_SPACE = re.compile(f"(?<!{_ASCII_BUT_SPACE}) | (?!{_ASCII_BUT_SPACE})")
_RAISED = str.maketrans({"\u00b2": "平方", "\u00b3": "立方"})
_BRACKETS = str.maketrans(dict.fromkeys("（）【】`", ""))
_LAST_COMMAS = re.compile("[\uff0c,\u3001]+$")


def contains_chinese(text: str) -> bool:
    """Whether `text` has a CJK ideograph (U+4E00 to U+9FFF), Japanese and Cantonese ones included."""
    return _CHINESE.search(text) is not None


def is_speakable(text: str) -> bool:
    """Whether `text` has a letter or digit of any script: punctuation, symbols, emoji and blanks say nothing."""
    return any(character.isalnum() for character in text)


def whole_characters(text: str) -> str:
    """`text` with the halves of surrogate pairs joined.

    Raises:
        ValueError: half a surrogate pair has no other half, so `text` is no Unicode text.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            found = re.search("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]", text)
            where = found.start() if found else 0
            raise ValueError(
                f"text is not valid Unicode: character {where} is a lone surrogate ({text[where]!a}); "
                "decode its bytes as UTF-8, with errors='replace' if need be"
            ) from None
    return text


def without_invisible(text: str) -> str:
    """`text` without the characters that have neither sound nor width; every line end becomes a line feed."""
    return _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text))


def clean_chinese(text: str) -> str:
    """The official clean-ups of Chinese text but the one at its end (`end_chinese`).

    Line ends go, blanks stay between ASCII characters only, raised 2 and 3 are spelled, "." becomes the Chinese full
    stop, " - " a comma, a double dash a blank, and brackets and back quotes go.
    """
    text = _NEEDLESS_SPACE.sub("", text.replace("\n", "")).translate(_RAISED)
    text = text.replace(".", "\u3002").replace(" - ", "\uff0c").translate(_BRACKETS)
    return text.replace("\u2014\u2014", " ")


def end_chinese(text: str) -> str:
    """`text` with a full stop for the commas at its end."""
    return _LAST_COMMAS.sub("\u3002", text)
