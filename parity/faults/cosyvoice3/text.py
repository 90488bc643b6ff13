"""Mistakes in the tokens that CosyVoice3 adds: the end of its system prompt, phonemes and pinyin."""

from __future__ import annotations

from unicodedata import normalize

from parity.faults.base import Catalogue, Context
from parity.faults.files import tokenizer_of, tokenizing, tokens
from parity.pair import Pair

CATALOGUE = Catalogue("text_tokenizer")

ADDED = CATALOGUE.at("tokenizer.json: added tokens", kind="tokenizer")


@ADDED.switching
def phonemes_missing(pair: Pair) -> Context:
    """Only CosyVoice2's tokens are added: phonemes and pinyin are spelled out."""
    content = tokenizer_of(pair)
    (end,) = (entry["id"] for entry in content["added_tokens"] if entry["content"] == "<|endofsystem|>")
    content["added_tokens"] = [entry for entry in content["added_tokens"] if entry["id"] < end]
    return tokenizing(pair, content)


@ADDED.switching
def pinyin_decomposed(pair: Pair) -> Context:
    """The tones of the pinyin tokens are marks of their own (NFD), as some editors write them."""
    content = tokenizer_of(pair)
    for entry in content["added_tokens"]:
        entry["content"] = normalize("NFD", entry["content"])
    return tokenizing(pair, content)


@ADDED.switching
def pinyin_before_phonemes(pair: Pair) -> Context:
    """All parts of pronunciations are sorted together, so that most ids move."""
    content = tokenizer_of(pair)
    (end,) = (entry["id"] for entry in content["added_tokens"] if entry["content"] == "<|endofsystem|>")
    parts = [entry for entry in content["added_tokens"] if entry["id"] > end]
    names = sorted((entry["content"] for entry in parts), key=str.lower)
    for entry, name in zip(parts, names, strict=True):
        entry["content"] = name
    return tokenizing(pair, content)


tokens(CATALOGUE, "pinyin-exchanged", "[j] and [q] have each other's id.", "[j]", "[q]")
tokens(CATALOGUE, "pinyin-normalized", "[ǐ] is looked for after the text was normalized.", "[ǐ]", normalized=True)
tokens(
    CATALOGUE,
    "end-of-prompt-exchanged",
    "<|endofprompt|> has the id of <|endofsystem|>, and the other way round.",
    "<|endofprompt|>",
    "<|endofsystem|>",
)
tokens(CATALOGUE, "phoneme-as-a-word", "[T] is a token between words alone, not in [T]his.", "[T]", single_word=True)
