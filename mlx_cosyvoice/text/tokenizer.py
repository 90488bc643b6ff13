"""Text to token ids and back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from tokenizers import Encoding, Tokenizer

from mlx_cosyvoice.quoting import plain
from mlx_cosyvoice.strict import BadFileError, read_bytes
from mlx_cosyvoice.text.tokenizer_file import MAX_FILE, check_tokenizer_json

_AGAIN = "Convert or download the model again."


class Span(NamedTuple):
    """A token of a text."""

    id: int
    #: First character, and the one after the last. The tokens of a character that needs several share both.
    start: int
    end: int
    #: Which of the words it belongs to that byte pairs are merged within; a special token is a word.
    word: int


class TextTokenizer:
    """Qwen2's byte-level BPE with a family's special tokens, officially `CosyVoice2Tokenizer`, `CosyVoice3Tokenizer`.

    Special tokens such as `[breath]` or `<strong>` are recognized anywhere in the text. Every text can be encoded:
    what the vocabulary lacks is spelled in bytes.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> TextTokenizer:
        """Read a `tokenizer.json`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not a `tokenizer.json` as the converter writes it; file and key are named.
            OSError: it must not or cannot be read.
        """
        try:
            content = read_bytes(path, MAX_FILE)
            check_tokenizer_json(content)
        except BadFileError as error:
            raise ValueError(f"{path}: not a tokenizer.json as it should be ({error}). {_AGAIN}") from error
        try:
            return cls(Tokenizer.from_buffer(content))
        except BaseException as error:  # the library raises plain Exception, and a BaseException where it panics
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise ValueError(f"{path}: not a tokenizer.json ({plain(str(error))}). {_AGAIN}") from error

    def __len__(self) -> int:
        """How many ids there are, special tokens included; every id is below it."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`, with nothing added at its ends; [] for "".

        Raises:
            ValueError: `text` holds half a surrogate pair, so it is no Unicode text.
        """
        return self._encoding(text).ids

    def spans(self, text: str) -> list[Span]:
        """The tokens of `text` with where they come from; their ids are those of `encode`, which see."""
        found = self._encoding(text)
        return [
            Span(number, start, end, -1 if word is None else word)
            for number, (start, end), word in zip(found.ids, found.offsets, found.word_ids, strict=True)
        ]

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """The tokens that are recognized as a whole anywhere in the text."""
        return tuple(token.content for token in self._tokenizer.get_added_tokens_decoder().values())

    def _encoding(self, text: str) -> Encoding:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"text is not valid Unicode: character {error.start} is a lone surrogate") from error
        return self._tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD, and ids outside the vocabulary nothing."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)
