"""Mistakes in the text tokenizer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

from mlx_cosyvoice.text.build import QWEN2_WORDS
from parity.faults.base import Catalogue, patched
from parity.pair import Pair

Context = AbstractContextManager[Any]

CATALOGUE = Catalogue("text_tokenizer")
fault = CATALOGUE.add


def _changed(pair: Pair, part: str, value: Any) -> Context:
    """The live tokenizer with another part."""
    tokenizer = pair.model.text_tokenizer
    assert tokenizer is not None
    twin = Tokenizer.from_str(tokenizer._tokenizer.to_str())
    setattr(twin, part, value)
    return patched(tokenizer, "_tokenizer", twin)


def _words(pattern: str) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


@fault("text-gpt2-words", "Text is cut into words as GPT-2 does it, so digits stay together.", "text_tokenizer")
def text_gpt2_words(pair: Pair) -> Context:
    return _changed(pair, "pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=False))


@fault("text-prefix-space", "A space is put before the text.", "text_tokenizer")
def text_prefix_space(pair: Pair) -> Context:
    words = pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated")
    spaced = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
    return _changed(pair, "pre_tokenizer", pre_tokenizers.Sequence([words, spaced]))


@fault("text-lower-case", "Text is put into lower case first.", "text_tokenizer")
def text_lower_case(pair: Pair) -> Context:
    return _changed(pair, "normalizer", normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]))


@fault("text-decomposed", "Accents are taken off their letters (NFD) in place of put together (NFC).", "text_tokenizer")
def text_decomposed(pair: Pair) -> Context:
    return _changed(pair, "normalizer", normalizers.NFD())


@fault("text-special-tokens", "Control tokens such as [laughter] are spelled out as text.", "text_tokenizer")
def text_special_tokens(pair: Pair) -> Context:
    tokenizer = pair.model.text_tokenizer
    assert tokenizer is not None
    bare = Tokenizer(tokenizer._tokenizer.model)
    bare.normalizer, bare.pre_tokenizer = normalizers.NFC(), _words(QWEN2_WORDS)
    return patched(tokenizer, "_tokenizer", bare)
