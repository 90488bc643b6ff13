"""Mistakes in the tokens that CosyVoice3 adds: the end of its system prompt, phonemes and pinyin."""

from __future__ import annotations

from typing import Any
from unicodedata import normalize

from parity.faults.base import Mistakes
from parity.faults.files import ADDED_TOKENS, tokenizing, tokens


def _end_of(file: dict[str, Any]) -> int:
    """The id of the last token that is no part of a pronunciation."""
    (end,) = (entry["id"] for entry in file["added_tokens"] if entry["content"] == "<|endofsystem|>")
    return int(end)


def _without_parts(file: dict[str, Any]) -> None:
    file["added_tokens"] = [entry for entry in file["added_tokens"] if entry["id"] < _end_of(file)]


def _decomposed(file: dict[str, Any]) -> None:
    for entry in file["added_tokens"]:
        entry["content"] = normalize("NFD", entry["content"])


def _sorted_together(file: dict[str, Any]) -> None:
    parts = [entry for entry in file["added_tokens"] if entry["id"] > _end_of(file)]
    names = sorted((entry["content"] for entry in parts), key=str.lower)
    for entry, name in zip(parts, names, strict=True):
        entry["content"] = name


MISTAKES: Mistakes = {
    "phonemes-missing: Only CosyVoice2's tokens are added: phonemes and pinyin are spelled out.": tokenizing(
        ADDED_TOKENS, _without_parts
    ),
    "pinyin-decomposed: The tones of the pinyin tokens are marks of their own (NFD), as some editors write them.": (
        tokenizing(ADDED_TOKENS, _decomposed)
    ),
    "pinyin-before-phonemes: All parts of pronunciations are sorted together, so that most ids move.": tokenizing(
        ADDED_TOKENS, _sorted_together
    ),
    "pinyin-exchanged: [j] and [q] have each other's id.": tokens("[j]", "[q]"),
    "pinyin-normalized: [ǐ] is looked for after the text was normalized.": tokens("[ǐ]", normalized=True),
    "end-of-prompt-exchanged: <|endofprompt|> has the id of <|endofsystem|>, and the other way round.": tokens(
        "<|endofprompt|>", "<|endofsystem|>"
    ),
    "phoneme-as-a-word: [T] is a token between words alone, not in [T]his.": tokens("[T]", single_word=True),
}
