"""From the official `CosyVoice-BlankEN` text files to one `tokenizer.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from mlx_cosyvoice.text.special_tokens import COSYVOICE2_SPECIAL_TOKENS
from mlx_cosyvoice.text.tokenizer_file import QWEN2_WORDS

PathLike = str | os.PathLike[str]


def build_tokenizer_json(vocab: PathLike, merges: PathLike, config: PathLike) -> str:
    """The `tokenizer.json` that stands for an official tokenizer folder and CosyVoice2's special tokens.

    The result encodes as `transformers.AutoTokenizer` does after `CosyVoice2Tokenizer` added its tokens.

    Args:
        vocab: `vocab.json`, token to id.
        merges: `merges.txt`, one pair a line, best first.
        config: `tokenizer_config.json`, whose `added_tokens_decoder` gives the base model's special tokens and ids.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: a file is not what it should be; the message names the file and the line, token or id.
    """
    return build_tokenizer(vocab, merges, config).to_str()


def build_tokenizer(
    vocab: PathLike, merges: PathLike, config: PathLike, special_tokens: Sequence[str] = COSYVOICE2_SPECIAL_TOKENS
) -> Tokenizer:
    """As `build_tokenizer_json`, but the tokenizer itself; `special_tokens` follow those of `config`."""
    ids = _read_vocab(Path(vocab))
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=_read_merges(Path(merges), ids)))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    for token_id, token in _read_added_tokens(Path(config)):
        tokenizer.add_tokens([token])
        given = tokenizer.token_to_id(token.content)
        if given != token_id:
            raise ValueError(
                f"{config}: {token.content!r} should have the id {token_id}, but {vocab} has {len(ids)} tokens, which "
                f"makes it {given}; the two files do not belong together"
            )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special_tokens])
    return tokenizer


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # an editor on Windows puts a byte order mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a UTF-8 text file ({error})") from error


def _read_json(path: Path) -> dict[str, Any]:
    text = _read_text(path)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold a JSON object, not {type(content).__name__}")
    return content


def _read_vocab(path: Path) -> dict[str, int]:
    ids = _read_json(path)
    for token, token_id in ids.items():
        if type(token_id) is not int or token_id < 0:
            raise ValueError(f"{path}: the id of {token!r} is {token_id!r}, not a whole number from 0 on")
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(f"{path}: the ids of its {len(ids)} tokens are not 0 to {len(ids) - 1}, each once")
    missing = [symbol for symbol in pre_tokenizers.ByteLevel.alphabet() if symbol not in ids]
    if missing:
        raise ValueError(f"{path}: {len(missing)} of the 256 byte symbols are missing, such as {min(missing)!r}")
    return ids


def _read_merges(path: Path, ids: dict[str, int]) -> list[tuple[str, str]]:
    pairs = []
    # Not splitlines(): it would also cut at characters that stand for bytes.
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        line = line.strip()
        if not line or (number == 1 and line.startswith("#version")):
            continue
        parts = line.split()
        if len(parts) != 2:
            raise ValueError(f"{path}, line {number}: {line!r} is not a pair of tokens")
        for token in (*parts, "".join(parts)):
            if token not in ids:
                raise ValueError(f"{path}, line {number}: {token!r} of the pair {line!r} is not in the vocabulary")
        pairs.append((parts[0], parts[1]))
    return pairs


def _read_added_tokens(path: Path) -> list[tuple[int, AddedToken]]:
    """The tokens of `added_tokens_decoder` in the order of their ids."""
    entries = _read_json(path).get("added_tokens_decoder", {})
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    tokens = []
    for key, entry in entries.items():
        if not key.isdecimal() or not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            raise ValueError(f"{path}: added_tokens_decoder[{key!r}] is {entry!r}, not an id with a token's content")
        given = {flag: bool(entry.get(flag, False)) for flag in flags}
        tokens.append((int(key), AddedToken(entry["content"], **given)))
    return sorted(tokens, key=lambda item: item[0])
