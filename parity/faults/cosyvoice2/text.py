"""Mistakes in the text tokenizer."""

from __future__ import annotations

from parity.faults.base import Mistakes
from parity.faults.files import ADDED_TOKENS, part, tokenizing

MISTAKES: Mistakes = {
    "text-gpt2-words: Text is cut into words as GPT-2 does it, so digits stay together.": part(
        "pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    ),
    "text-prefix-space: A space is put before the text.": part(
        "pre_tokenizer",
        lambda own: {**own, "pretokenizers": [{**one, "add_prefix_space": True} for one in own["pretokenizers"]]},
    ),
    "text-lower-case: Text is put into lower case first.": part(
        "normalizer", {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}
    ),
    "text-decomposed: Accents are taken off their letters (NFD) in place of put together (NFC).": part(
        "normalizer", {"type": "NFD"}
    ),
    "text-special-tokens: Control tokens such as [laughter] are spelled out as text.": tokenizing(
        ADDED_TOKENS, lambda file: file["added_tokens"].clear()
    ),
}
