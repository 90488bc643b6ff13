"""Qwen2's byte-level BPE and CosyVoice2's special tokens in plain Python: slow, short and independent.

Equals `cosyvoice.tokenizer.tokenizer.CosyVoice2Tokenizer`, up to characters newer than the Unicode version that
Python's `unicodedata` and the `regex` package know.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import regex

# Written out by hand, and not taken from the MLX package, so that a slip on either side shows.
COSYVOICE2_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|endofprompt|>", "[breath]", "<strong>", "</strong>", "[noise]"),
    *("[laughter]", "[cough]", "[clucking]", "[accent]", "[quick_breath]", "<laughter>", "</laughter>", "[hissing]"),
    *("[sigh]", "[vocalized-noise]", "[lipsmack]", "[mn]"),
)

#: `PRETOKENIZE_REGEX` of transformers' Qwen2 tokenizer: what is a word.
WORDS = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",  # an English contraction
        r"[^\r\n\p{L}\p{N}]?\p{L}+",  # letters, with one space or mark before them
        r"\p{N}",  # one digit
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",  # punctuation, with line ends after it
        r"\s*[\r\n]+",  # line ends
        r"\s+(?!\S)",  # spaces, but for the one that belongs to the next word
        r"\s+",
    )
)
WORD = regex.compile(WORDS)

#: How a special token is found in a text.
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def byte_symbols() -> list[str]:
    """The character that stands for each byte 0 to 255 in `vocab.json` and `merges.txt` (GPT-2's table).

    Bytes that Latin-1 prints stand for themselves; the others follow from U+0100 on.
    """
    symbols, spare = [], 0x100
    for byte in range(256):
        printable = 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or 0xAE <= byte <= 0xFF
        symbols.append(chr(byte if printable else spare))
        spare += not printable
    return symbols


class TextTokenizer:
    """Reads vocab.json, merges.txt and tokenizer_config.json of `folder`, and adds the special `tokens` of a family.

    Attributes:
        ids: of the vocabulary.
        ranks: pair -> its place among the merges.
        added: special token -> its id and `FLAGS`.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not what it should be.
    """

    def __init__(self, folder: str | os.PathLike[str], tokens: Sequence[str] = COSYVOICE2_TOKENS) -> None:
        folder = Path(folder)
        try:
            self.ids: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
            lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
            pairs = [line.split() for line in lines if line.strip() and not line.startswith("#version")]
            self.ranks = {(left, right): rank for rank, (left, right) in enumerate(pairs)}
            config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
            self.added = {
                entry["content"]: {"id": int(key), **{flag: bool(entry.get(flag, False)) for flag in FLAGS}}
                for key, entry in config["added_tokens_decoder"].items()
            }
            self._tokens = {number: token for token, number in self.ids.items()}
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise ValueError(f"{folder}: not the files of a Qwen2 tokenizer ({error!r:.200})") from error
        for token in tokens:
            known = self.added.get(token, {"id": len(self.ids) + len(self.added)})
            self.added[token] = {**known, **dict.fromkeys(FLAGS, False), "special": True}
        self.special = {token: entry["id"] for token, entry in self.added.items()}
        # Of two special tokens that start at one place, the longer wins.
        longest_first = sorted(self.special, key=len, reverse=True)
        self._special_pattern = regex.compile("(" + "|".join(map(regex.escape, longest_first)) + ")")
        self._symbols = byte_symbols()
        self._bytes = {symbol: byte for byte, symbol in enumerate(self._symbols)}
        self._special_tokens = {number: token for token, number in self.special.items()}
        self._merge_cached = lru_cache(100_000)(self._merge)

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`. A lone surrogate raises UnicodeEncodeError."""
        ids: list[int] = []
        for part in self._special_pattern.split(text):
            if part in self.special:
                ids.append(self.special[part])
                continue
            # Special tokens are looked for before the text is normalized.
            for word in WORD.findall(unicodedata.normalize("NFC", part)):
                ids.extend(self._merge_cached(word))
        return ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD."""
        text = b""
        for number in ids:
            if number in self._special_tokens:
                text += b"" if skip_special_tokens else self._special_tokens[number].encode()
            else:
                text += bytes(self._bytes[symbol] for symbol in self._tokens[number])
        return text.decode("utf-8", errors="replace")

    def _merge(self, word: str) -> tuple[int, ...]:
        """Byte pair encoding of one word: the best-ranked neighboring pair is merged until none has a rank."""
        parts = [self._symbols[byte] for byte in word.encode("utf-8")]
        while len(parts) > 1:
            ranked = [self.ranks.get(pair, len(self.ranks)) for pair in pairwise(parts)]
            best = min(ranked)
            if best == len(self.ranks):
                break
            at = ranked.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return tuple(self.ids[part] for part in parts)
