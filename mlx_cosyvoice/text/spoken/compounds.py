"""Versions, and names of letters and digits."""

from __future__ import annotations

import re

from mlx_cosyvoice.text.spoken.speaker import Speaker

_VERSION = re.compile(
    r"(?a)(?<![A-Za-z0-9_.])(?:v\.?|V\.?(?=\d+\.\d))(\d{1,4}(?:\.\d{1,6}){1,4}|\d{1,3})(?![A-Za-z0-9_]|\.\d)"
)
_ADDRESS = re.compile(r"(?a)(?<![A-Za-z0-9_.])\d{1,3}(?:\.\d{1,3}){3}(?![A-Za-z0-9_]|\.\d)")
_DOTTED = re.compile(r"(?a)(?<![0-9_.])\d{1,4}(?:\.\d{1,6}){2,5}(?![0-9_]|\.\d)")
_RELEASE = re.compile(
    r"(?a)(?<=\b)((?:Python|Ubuntu|iOS|iPadOS|macOS|Android|Node|Java|PHP|Ruby|Rust|Go|Swift|Kotlin|Debian|Fedora|"
    r"Windows|Linux|kernel|"
    r"CUDA|Django|PyTorch|TensorFlow|Vue|Angular|Postgres|PostgreSQL|MySQL|Redis|Kubernetes|GCC|LLVM|Perl|Chrome|"
    r"Firefox|"
    r"[Vv]ersion|[Rr]elease|[Vv]er\.|\u7248\u672c)[ :]?)(\d{1,3})\.(\d{1,3})(?![\d.]*\d)"
)
_BY = re.compile(r"(?a)(?<=\d)(\s?)([xX\u00d7*])\s?(?=\d)")
_IN_NAME = re.compile(r"(?a)(?<=[A-Za-z])(-?\d{1,4}(?:\.\d{1,4}){0,3})-(?=\d)")
_UNDERSCORE = re.compile(r"(?a)(?<=[A-Za-z0-9])_+(?=[A-Za-z0-9])")
#: A hyphen that only joins.
_HYPHEN_BEFORE = re.compile("(?<=[A-Za-z])[-\u2010\u2011](?=\\d)")
_HYPHEN_AFTER = re.compile("(?<=\\d)[-\u2010\u2011](?=[A-Za-z])")
_LETTER_DIGIT = re.compile(r"(?a)(?<=[A-Za-z])(?=\d)")
_DIGIT_LETTER = re.compile(r"(?a)(?<=\d)(?=[A-Za-z])")


def spell(text: str, speaker: Speaker) -> str:
    """`text` with versions in words, and digits apart from the letters beside them."""
    glued = speaker.glued
    text = _BY.sub(lambda found: speaker.between("by" if found[2] in "xX" and not found[1] else "times"), text)
    text = speaker.replaced(_VERSION, text, lambda found: _version(found[1], speaker))
    text = speaker.replaced(_ADDRESS, text, lambda found: _address(found[0], speaker))
    text = speaker.replaced(_DOTTED, text, lambda found: _dotted(found[0], speaker))
    text = speaker.replaced(
        _RELEASE,
        text,
        lambda found: (
            found[1] + (" " if not glued and found[1][-1].isalpha() else "") + speaker.version(found.group(2, 3))
        ),
    )
    text = _IN_NAME.sub(r"\1-" if glued else r"\1 ", text)
    text = _UNDERSCORE.sub(speaker.signs["underscore"] if glued else " ", text)
    # Where words are not separated by blanks, the hyphen between two numbers keeps them apart.
    text = _HYPHEN_BEFORE.sub("" if glued else " ", text)
    if not glued:
        text = _LETTER_DIGIT.sub(" ", _DIGIT_LETTER.sub(" ", _HYPHEN_AFTER.sub(" ", text)))
    return text


def _address(written: str, speaker: Speaker) -> str | None:
    parts = written.split(".")
    return speaker.version(parts, "dot") if all(int(part) < 256 for part in parts) else None


def _dotted(written: str, speaker: Speaker) -> str | None:
    """None where the dots stand between thousands."""
    parts = written.split(".")
    return None if all(len(part) == 3 for part in parts[1:]) else speaker.version(parts)


def _version(numbers: str, speaker: Speaker) -> str:
    return speaker.joined((speaker.signs["version"], speaker.version(numbers.split("."))))
