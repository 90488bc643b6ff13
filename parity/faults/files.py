"""Faults in what a model's files say: fields of the configuration, and entries of the tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer

from parity.faults.base import Context, Place, Planted, at, patched, replaced
from parity.pair import Pair

ADDED_TOKENS = at("tokenizer.json: added tokens", kind="tokenizer")


def field(path: str, value: Any) -> Planted:
    """A field of the configuration has another value."""
    place = at(f"config.json: {path}", kind="config")
    return place.by(lambda pair: patched(pair.model, "config", replaced(pair.model.config, path, value)))


def tokenizing(place: Place, change: Callable[[dict[str, Any]], Any]) -> Planted:
    """The live tokenizer is that of a file whose content is changed."""

    def switch(pair: Pair) -> Context:
        tokenizer = pair.model.text_tokenizer
        assert tokenizer is not None
        content = json.loads(tokenizer._tokenizer.to_str())
        change(content)
        return patched(tokenizer, "_tokenizer", Tokenizer.from_str(json.dumps(content)))

    return place.by(switch)


def part(name: str, value: Any) -> Planted:
    """A part of the tokenizer is another one; a callable value gets the old one."""
    place = at(f"tokenizer.json: {name}", kind="tokenizer")
    return tokenizing(place, lambda file: file.update({name: value(file[name]) if callable(value) else value}))


def tokens(*contents: str, **change: Any) -> Planted:
    """The entries of special tokens are changed; without a `change` they exchange their ids."""

    def changed(file: dict[str, Any]) -> None:
        entries = [entry for entry in file["added_tokens"] if entry["content"] in contents]
        for entry, other in zip(entries, contents[::-1], strict=True):
            entry.update(change or {"content": other})

    paths = (f"tokenizer.json: added token {token!r}" for token in contents)
    return tokenizing(at(*paths, kind="tokenizer"), changed)
