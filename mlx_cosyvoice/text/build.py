"""From the official `CosyVoice-BlankEN` text files to one `tokenizer.json`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.quoting import quoted
from mlx_cosyvoice.strict import BadFileError, read_bytes, read_json_object
from mlx_cosyvoice.text.tokenizer_file import MAX_ADDED, MAX_CHARACTERS, QWEN2_WORDS

#: Bytes of each file. The largest of Qwen2 has 2.8 MB.
MAX_BYTES = 16 << 20
#: Digits of a token's id.
MAX_DIGITS = 9

PathLike = str | os.PathLike[str]


def build_tokenizer(
    vocab: PathLike, merges: PathLike, config: PathLike, *, special_tokens: Sequence[str] = COSYVOICE2.special_tokens
) -> Tokenizer:
    """The tokenizer that stands for an official folder with a family's special tokens, as `tokenizer.json` holds it.

    It encodes as `transformers.AutoTokenizer` does after `CosyVoice2Tokenizer` added its tokens.

    Args:
        vocab: `vocab.json`, token to id.
        merges: `merges.txt`, one pair a line, best first.
        config: `tokenizer_config.json`, whose `added_tokens_decoder` gives the base model's special tokens and ids.
        special_tokens: that follow those of `config`.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: a file is not what it should be; the message names the file and the line, token or id.
    """
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
        found = tokenizer.token_to_id(token.content)
        if found != token_id:
            raise ValueError(
                f"{config}: {quoted(token.content)} should have the id {token_id}, but {vocab} has {len(ids)} tokens, "
                f"which makes it {found}; the two files do not belong together"
            )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special_tokens])
    return tokenizer


def _read_text(path: Path) -> str:
    try:
        # an editor on Windows puts a byte order mark
        return read_bytes(path, MAX_BYTES).decode("utf-8-sig")
    except BadFileError as error:
        raise ValueError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a UTF-8 text file ({error.reason} at {error.start})") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path, MAX_BYTES)
    except BadFileError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_vocab(path: Path) -> dict[str, int]:
    ids = _read_json(path)
    for token, token_id in ids.items():
        if type(token_id) is not int or token_id < 0:
            raise ValueError(f"{path}: the id of {quoted(token)} is {quoted(token_id)}, not a whole number from 0 on")
        if not 0 < len(token) <= MAX_CHARACTERS:
            raise ValueError(f"{path}: the token {quoted(token)} does not have 1 to {MAX_CHARACTERS} characters")
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(f"{path}: the ids of its {len(ids)} tokens are not 0 to {len(ids) - 1}, each once")
    missing = [symbol for symbol in pre_tokenizers.ByteLevel.alphabet() if symbol not in ids]
    if missing:
        raise ValueError(f"{path}: {len(missing)} of the 256 byte symbols are missing, such as {min(missing)!r}")
    return ids


def _read_merges(path: Path, ids: dict[str, int]) -> list[tuple[str, str]]:
    pairs: dict[tuple[str, str], int] = {}
    # Not splitlines(): it would also cut at characters that stand for bytes.
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        line = line.strip()
        if not line or (number == 1 and line.startswith("#version")):
            continue
        parts = line.split(maxsplit=2)
        if len(parts) != 2:
            raise ValueError(f"{path}, line {number}: {quoted(line)} is not a pair of tokens")
        for token in (*parts, "".join(parts)):
            if token not in ids:
                raise ValueError(
                    f"{path}, line {number}: {quoted(token)} of the pair {quoted(line)} is not in the vocabulary"
                )
        pair = parts[0], parts[1]
        if pair in pairs:
            raise ValueError(f"{path}, line {number}: the pair {quoted(line)} stands in line {pairs[pair]} already")
        pairs[pair] = number
    return list(pairs)


def _read_added_tokens(path: Path) -> list[tuple[int, AddedToken]]:
    """The tokens of `added_tokens_decoder` in the order of their ids."""
    entries = _read_json(path).get("added_tokens_decoder", {})
    if not isinstance(entries, dict) or len(entries) > MAX_ADDED:
        raise ValueError(
            f"{path}: added_tokens_decoder must map at most {MAX_ADDED} ids to tokens, not {quoted(entries)}"
        )
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    tokens = []
    for key, entry in entries.items():
        content = entry.get("content") if isinstance(entry, dict) else None
        if not (key.isdecimal() and key.isascii() and len(key) <= MAX_DIGITS and isinstance(content, str)):
            raise ValueError(
                f"{path}: added_tokens_decoder[{quoted(key)}] is {quoted(entry)}, not an id with a token's content"
            )
        if not 0 < len(content) <= MAX_CHARACTERS:
            raise ValueError(f"{path}: the token {quoted(content)} does not have 1 to {MAX_CHARACTERS} characters")
        options = {flag: bool(entry.get(flag, False)) for flag in flags}
        tokens.append((int(key), AddedToken(content, **options)))
    return sorted(tokens, key=lambda item: item[0])
