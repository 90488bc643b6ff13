"""Mistakes in the text tokenizer."""

from __future__ import annotations

from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

from mlx_cosyvoice.text.build import QWEN2_WORDS
from parity.faults.base import Catalogue, Context, Place, patched
from parity.pair import Pair

CATALOGUE = Catalogue("text_tokenizer")


def _at(part: str) -> Place:
    return CATALOGUE.at(f"tokenizer.json: {part}", kind="tokenizer")


def _changed(name: str, mistake: str, part: str, value: Any) -> None:
    """A fault in which the live tokenizer has another part."""

    def switch(pair: Pair) -> Context:
        tokenizer = pair.model.text_tokenizer
        assert tokenizer is not None
        twin = Tokenizer.from_str(tokenizer._tokenizer.to_str())
        setattr(twin, part, value)
        return patched(tokenizer, "_tokenizer", twin)

    _at(part).add(name, mistake, switch)


def _words(*, add_prefix_space: bool = False) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=False)
    return pre_tokenizers.Sequence([split, level])


_changed(
    "text-gpt2-words",
    "Text is cut into words as GPT-2 does it, so digits stay together.",
    "pre_tokenizer",
    pre_tokenizers.ByteLevel(add_prefix_space=False),
)
_changed("text-prefix-space", "A space is put before the text.", "pre_tokenizer", _words(add_prefix_space=True))
_changed(
    "text-lower-case",
    "Text is put into lower case first.",
    "normalizer",
    normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]),
)
_changed(
    "text-decomposed",
    "Accents are taken off their letters (NFD) in place of put together (NFC).",
    "normalizer",
    normalizers.NFD(),
)


@_at("added tokens").switching
def text_special_tokens(pair: Pair) -> Context:
    """Control tokens such as [laughter] are spelled out as text."""
    tokenizer = pair.model.text_tokenizer
    assert tokenizer is not None
    bare = Tokenizer(tokenizer._tokenizer.model)
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        setattr(bare, part, getattr(tokenizer._tokenizer, part))
    return patched(tokenizer, "_tokenizer", bare)
