"""What a `tokenizer.json` must be: byte-level BPE as `mlx_cosyvoice.text.build` writes it, whatever the vocabulary.

The library that reads such files has dozens of other normalizers, models and decoders. On some files it panics, or
may need any amount of memory; and none but these parts give the ids that the model was trained with.
"""

from __future__ import annotations

from typing import Any

from mlx_cosyvoice.quoting import quoted
from mlx_cosyvoice.strict import BadFileError, parse_json

#: How Qwen2 cuts text into words before byte pairs are merged within each: English contractions, letters with one
#: leading mark or space, single digits, punctuation, line ends, spaces.
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

#: Bytes of a file; Qwen2's has 5 MB, or 11 MB with line ends and indents.
MAX_FILE = 24 << 20
MAX_TOKENS = 400_000
MAX_ADDED = 10_000
#: Characters of a token. Qwen2's longest has 256.
MAX_CHARACTERS = 1024


def _byte_level(*, space: bool = True, trim: bool = True, regex: bool = True) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": trim, "use_regex": regex}


#: All but the vocabulary.
_PARTS: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": QWEN2_WORDS}, "behavior": "Isolated", "invert": False},
            _byte_level(space=False, regex=False),
        ],
    },
    "post_processor": _byte_level(trim=False),
    "decoder": _byte_level(),
}
_MODEL: dict[str, Any] = {
    "type": "BPE",
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "fuse_unk": False,
    "byte_fallback": False,
    "ignore_merges": False,
}
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def check_tokenizer_json(content: bytes) -> None:
    """Check the whole content of a `tokenizer.json`.

    Raises:
        BadFileError: it is not what the converter writes; the key is named.
    """
    fields = parse_json(content)
    if not isinstance(fields, dict):
        raise BadFileError("must hold a JSON object")
    _check_equal(fields, _PARTS, "", {"model", "added_tokens"})
    model = fields.get("model")
    if not isinstance(model, dict):
        raise BadFileError(f"model must be an object, not {quoted(model)}")
    _check_equal({**_MODEL, **model}, _MODEL, "model.", {"vocab", "merges"})
    vocab = _checked_vocab(model.get("vocab"))
    _check_merges(model.get("merges"), vocab)
    _check_added(fields.get("added_tokens"), vocab)


def _check_equal(found: dict[str, Any], wanted: dict[str, Any], prefix: str, others: set[str]) -> None:
    for key in sorted(found.keys() | wanted.keys()):
        if key in others:
            continue
        if key not in wanted:
            raise BadFileError(f"{prefix}{quoted(key)} is not part of a tokenizer of CosyVoice2")
        value = found.get(key)
        if value != wanted[key] or type(value) is not type(wanted[key]):
            raise BadFileError(f"{prefix}{key} must be {quoted(wanted[key])} as in CosyVoice2, not {quoted(value)}")


def _checked_vocab(vocab: Any) -> dict[str, int]:
    if not isinstance(vocab, dict) or len(vocab) > MAX_TOKENS:
        raise BadFileError(f"model.vocab must be an object that maps at most {MAX_TOKENS} tokens to ids")
    count = len(vocab)
    for token, number in vocab.items():
        if type(number) is not int or not 0 <= number < count or not 0 < len(token) <= MAX_CHARACTERS:
            raise BadFileError(
                f"model.vocab: tokens must have 1 to {MAX_CHARACTERS} characters, and ids below {count}, the count of "
                f"tokens: {quoted(token)}, {quoted(number)}"
            )
    if len(set(vocab.values())) < len(vocab):
        raise BadFileError("model.vocab: two tokens have the same id")
    missing = [symbol for symbol in _byte_symbols() if symbol not in vocab]
    if missing:
        raise BadFileError(f"model.vocab: {len(missing)} of the 256 byte symbols are missing, such as {missing[0]!r}")
    return vocab


def _byte_symbols() -> list[str]:
    """The letters that stand for bytes, in the order of the bytes: themselves where they can be seen, else others."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in seen else next(others)) for byte in range(256)]


def _check_merges(merges: Any, vocab: dict[str, int]) -> None:
    if not isinstance(merges, list) or len(merges) > MAX_TOKENS:
        raise BadFileError(f"model.merges must be a list of at most {MAX_TOKENS} pairs")
    # Before version 0.20 the library wrote a pair as one string.
    pairs = [merge.split(" ") if type(merge) is str else merge for merge in merges]
    for place, pair in enumerate(pairs):
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not str or type(pair[1]) is not str:
            raise BadFileError(f"model.merges[{place}] must be a pair of tokens, not {quoted(merges[place])}")
        first, second = pair
        if first not in vocab or second not in vocab or first + second not in vocab:
            raise BadFileError(f"model.merges[{place}]: {quoted(pair)}, or both joined, are not in model.vocab")


def _check_added(added: Any, vocab: dict[str, int]) -> None:
    if not isinstance(added, list) or len(added) > MAX_ADDED:
        raise BadFileError(f"added_tokens must be a list of at most {MAX_ADDED} tokens")
    ids: dict[str, int] = {}
    free = len(vocab)
    for place, entry in enumerate(added):
        if not isinstance(entry, dict) or entry.keys() != {"id", "content", *_FLAGS}:
            raise BadFileError(f"added_tokens[{place}] must have id, content and flags, not {quoted(entry)}")
        content, number = entry["content"], entry["id"]
        if not isinstance(content, str) or not 0 < len(content) <= MAX_CHARACTERS or content in ids:
            raise BadFileError(
                f"added_tokens[{place}].content must be a text of 1 to {MAX_CHARACTERS} characters that no other has, "
                f"not {quoted(content)}"
            )
        if not all(isinstance(entry[flag], bool) for flag in _FLAGS):
            raise BadFileError(f"added_tokens[{place}]: flags must be true or false: {quoted(entry)}")
        expected = vocab.get(content, free)
        if type(number) is not int or number != expected:
            raise BadFileError(
                f"added_tokens[{place}]: the id of {quoted(content)} must be {expected}, not {quoted(number)}"
            )
        ids[content] = number
        free += content not in vocab
