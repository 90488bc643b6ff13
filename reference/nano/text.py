"""The text tokenizer: Qwen2's files with a vocabulary of the bytes and our words, so that each word is one id.

One id a word also keeps the number of speech tokens well above twice the number of ids, before which upstream forbids
the end of speech.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from reference.nano.sizes import NANO
from reference.nano.words import WORDS
from reference.synthetic.text import write_files
from reference.text_tokenizer import TextTokenizer, byte_symbols


def merges() -> list[tuple[str, str]]:
    """Byte pair encoding learned from our words until each is one token: after a blank, without, and with a capital."""
    space = byte_symbols()[ord(" ")]
    spelled = [list(form) for word in WORDS for form in (word, space + word, word.capitalize())]
    pairs: list[tuple[str, str]] = []
    while counts := Counter(pair for parts in spelled for pair in pairwise(parts)):
        pair = max(counts, key=lambda pair: (counts[pair], pair))
        pairs.append(pair)
        for parts in spelled:
            for at in reversed(range(len(parts) - 1)):
                if (*parts[at : at + 2],) == pair:
                    parts[at : at + 2] = ["".join(pair)]
    return pairs


def write_text(folder: Path, qwen: Mapping[str, Any] = NANO["llm"]["qwen"]) -> None:
    """Write `CosyVoice-BlankEN`."""
    write_files(folder, merges(), qwen_config=qwen)


@cache
def text_tokenizer() -> TextTokenizer:
    """The tokenizer of what `write_text` writes."""
    with tempfile.TemporaryDirectory() as folder:
        write_text(Path(folder))
        return TextTokenizer(folder)
