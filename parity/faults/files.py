"""Faults in what a model's files say: fields of the configuration, and entries of the tokenizer."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer

from parity.faults.base import Catalogue, Context, patched, replaced
from parity.pair import Pair


def field(catalogue: Catalogue, name: str, mistake: str, path: str, value: Any) -> None:
    """A fault in which a field of the configuration has another value."""
    place = catalogue.at(f"config.json: {path}", kind="config")
    place.add(name, mistake, lambda pair: patched(pair.model, "config", replaced(pair.model.config, path, value)))


def tokens(catalogue: Catalogue, name: str, mistake: str, *contents: str, **change: Any) -> None:
    """A fault in which the entries of special tokens are changed; without a `change` they exchange their ids."""
    paths = (f"tokenizer.json: added token {token!r}" for token in contents)

    def switch(pair: Pair) -> Context:
        content = tokenizer_of(pair)
        entries = [entry for entry in content["added_tokens"] if entry["content"] in contents]
        for entry, other in zip(entries, contents[::-1], strict=True):
            entry.update(change or {"content": other})
        return tokenizing(pair, content)

    catalogue.at(*paths, kind="tokenizer").add(name, mistake, switch)


def tokenizer_of(pair: Pair) -> dict[str, Any]:
    """What the live tokenizer's file would say."""
    assert pair.model.text_tokenizer is not None
    content: dict[str, Any] = json.loads(pair.model.text_tokenizer._tokenizer.to_str())
    return content


def tokenizing(pair: Pair, content: dict[str, Any]) -> Context:
    """Let the model have a tokenizer of another file."""
    return patched(pair.model.text_tokenizer, "_tokenizer", Tokenizer.from_str(json.dumps(content)))
