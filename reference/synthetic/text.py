"""Writes a synthetic `CosyVoice-BlankEN` folder: the text files of the official checkpoint, made up but valid."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from reference.synthetic import recipe
from reference.text_tokenizer import COSYVOICE2_TOKENS, byte_symbols

BLANK_EN = "CosyVoice-BlankEN"

#: Tokens of the base vocabulary. 151643 is Qwen2's number; the tiny one leaves room below 1000 for special tokens.
BASE_VOCAB = {"tiny": 900, "full": 151643}

#: What the published files say, where null is filled in; and words that merges are made of.
_FILES: dict[str, Any] = json.loads(Path(__file__).with_name("blank_en.json").read_text(encoding="utf-8"))

BASE_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def write_blank_en(
    folder: str | os.PathLike[str],
    *,
    vocab_size: Literal["tiny", "full"],
    seed: int = recipe.SEED,
    qwen_config: Mapping[str, Any],
    tokens: Sequence[str] = COSYVOICE2_TOKENS,
) -> None:
    """Write vocab.json, merges.txt, tokenizer_config.json and config.json into `folder`, which is made if missing.

    The same arguments give the same bytes.

    Args:
        folder: the folder `CosyVoice-BlankEN` of a checkpoint.
        vocab_size: "tiny", 900 tokens and special tokens from 900 on, or "full", 151643 and from 151643 on.
        seed: of the made-up merges.
        qwen_config: sizes of the language model, under the names of `config.json` (`hidden_size` and so on).
        tokens: special tokens that will be added to it.

    Raises:
        ValueError: `vocab_size` is not known, or the vocabulary does not fit `qwen_config["vocab_size"]` rows.
    """
    if vocab_size not in BASE_VOCAB:
        raise ValueError(f"vocab_size must be one of {', '.join(BASE_VOCAB)}, not {vocab_size!r}")
    base = BASE_VOCAB[vocab_size]
    write_files(folder, _merges(base - len(byte_symbols()), seed), qwen_config=qwen_config, tokens=tokens)


def write_files(
    folder: str | os.PathLike[str],
    pairs: Sequence[tuple[str, str]],
    *,
    qwen_config: Mapping[str, Any],
    tokens: Sequence[str] = COSYVOICE2_TOKENS,
) -> None:
    """The files of `write_blank_en` for a vocabulary of the bytes and these merges, best first.

    Raises:
        ValueError: it does not fit `qwen_config["vocab_size"]` rows.
    """
    symbols = byte_symbols()
    base = len(symbols) + len(pairs)
    config = _qwen2_config(qwen_config, end_of_text=base)
    ids_in_use = base + len(dict.fromkeys((*BASE_SPECIAL, *tokens)))
    if config["vocab_size"] < ids_in_use:
        raise ValueError(
            f"qwen_config: vocab_size {config['vocab_size']} is less than the {ids_in_use} ids of the text"
        )
    # As in the official files: printable bytes first, then the others, then the results of the merges in order.
    vocab = {token: number for number, token in enumerate(sorted(symbols) + [left + right for left, right in pairs])}

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "vocab.json", json.dumps(vocab, ensure_ascii=False))
    _write(folder / "merges.txt", "\n".join(["#version: 0.2", *(f"{left} {right}" for left, right in pairs), ""]))
    _write(folder / "tokenizer_config.json", json.dumps(_tokenizer_config(base), indent=2) + "\n")
    _write(folder / "config.json", json.dumps(config, indent=2) + "\n")


def text_for(rows: int) -> Literal["tiny", "full"]:
    """The largest text whose ids fit a language model of so many rows."""
    return "full" if rows > BASE_VOCAB["full"] else "tiny"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _merges(count: int, seed: int) -> list[tuple[str, str]]:
    """`count` pairs, best first; the parts of each are bytes or results of earlier pairs, and no result comes twice."""
    symbols = byte_symbols()
    known = set(symbols)
    pairs: list[tuple[str, str]] = []

    def add(left: str, right: str) -> None:
        if len(pairs) < count and left + right not in known:
            known.add(left + right)
            pairs.append((left, right))

    for text in _texts(large=count > 100_000):
        parts = [symbols[byte] for byte in text.encode("utf-8")]
        for end in range(1, len(parts)):
            add("".join(parts[:end]), parts[end])
    # The rest are made-up words: a known word, or the beginning of one, and another after it.
    space = symbols[ord(" ")]
    firsts = sorted(
        token for token in known if token.removeprefix(space).isalpha() and token.removeprefix(space).isascii()
    )
    seconds = [token for token in firsts if not token.startswith(space)]
    batch = 0
    while len(pairs) < count:
        left = recipe.integers(f"text/merges/{batch}/left", (10_000,), len(firsts), seed)
        right = recipe.integers(f"text/merges/{batch}/right", (10_000,), len(seconds), seed)
        for i, j in zip(left, right, strict=True):
            add(firsts[i], seconds[j])
        batch += 1
    return pairs


def _texts(large: bool) -> Iterator[str]:
    """What real text is full of; each is learned from its start on, byte by byte, so its beginnings are tokens too."""
    yield from (" ", "  ", "    ", "\n\n", "\r\n", "...", "\u3002", "\uff0c", "\uff01", "\uff1f", "\u3001")
    for word in _FILES["english"].split():
        yield " " + word
    yield from _FILES["chinese"]
    if large:
        yield from _FILES["english"].split()
        yield from map(chr, range(0x4E00, 0xA000))
        yield from map(chr, range(0x3041, 0x3100))  # Japanese syllables


def _tokenizer_config(first_id: int) -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    added = {str(first_id + number): {"content": token, **flags} for number, token in enumerate(BASE_SPECIAL)}
    return {**_FILES["tokenizer_config"], "added_tokens_decoder": added}


def _qwen2_config(sizes: Mapping[str, Any], end_of_text: int) -> dict[str, Any]:
    """The fields of Qwen2-0.5B's `config.json`, with `sizes` in place of the published ones."""
    return {**_FILES["config"], "bos_token_id": end_of_text, "eos_token_id": end_of_text, **sizes}
