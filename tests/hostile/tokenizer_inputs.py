"""Hostile `tokenizer.json`: other parts than the converter's, and vocabularies that no tokenizer has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.harness import Inputs
from tests.hostile.safetensors_inputs import NASTY
from tests.hostile.text_bytes import BROKEN

FILE = "tokenizer.json"
INPUTS = Inputs()

_SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}

#: What stands in the place of a field.
FIELDS: dict[str, dict[str, Any]] = {
    "version": {"version": "2.0"},
    "no-model": {"model": None},
    "model-list": {"model": []},
    "truncation": {"truncation": {"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 9}},
    "padding": {
        "padding": {
            "strategy": {"Fixed": 2**40},
            "direction": "Right",
            "pad_to_multiple_of": 0,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "",
        }
    },
    "no-normalizer": {"normalizer": None},
    "nfd": {"normalizer": {"type": "NFD"}},
    "replace-nothing": {"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "x" * 1_000_000}},
    "replace-by-regex": {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "b"}},
    "invalid-regex": {"normalizer": {"type": "Replace", "pattern": {"Regex": "(?<"}, "content": ""}},
    "precompiled": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    "precompiled-long": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "////" * 100_000}},
    "precompiled-nothing": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}},
    "prepend": {"normalizer": {"type": "Prepend", "prepend": "x" * 4_000_000}},
    "normalizers": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 100_000}},
    "pre-tokenizer-none": {"pre_tokenizer": None},
    "pre-tokenizer-catastrophic": {"pre_tokenizer": {**_SPLIT, "pattern": {"Regex": "(x+x+)+y"}}},
    "pre-tokenizer-invalid": {"pre_tokenizer": {**_SPLIT, "pattern": {"Regex": "[" * 1000}}},
    "pre-tokenizer-deep": {"pre_tokenizer": {**_SPLIT, "pattern": {"Regex": "(" * 100_000 + ")" * 100_000}}},
    "pre-tokenizer-nothing": {"pre_tokenizer": {**_SPLIT, "pattern": {"String": ""}}},
    "pre-tokenizer-unknown": {"pre_tokenizer": {"type": NASTY * 1000}},
    "pre-tokenizer-number": {"pre_tokenizer": 7},
    "post-processor": {
        "post_processor": {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}
    },
    "post-processor-roberta": {
        "post_processor": {"type": "RobertaProcessing", "sep": ["a", -1], "cls": ["b", 2**40]},
    },
    "decoder-strip": {"decoder": {"type": "Strip", "content": "", "start": 2**60, "stop": 2**60}},
    "decoder-none": {"decoder": None},
    "more": {"\x1b[2J": 1},
    "added-none": {"added_tokens": None},
    "added-object": {"added_tokens": {}},
    "added-numbers": {"added_tokens": [1, 2]},
    "added-many": {"added_tokens": [{}] * 20_000},
}

#: What stands in the place of a field of the model.
MODEL: dict[str, dict[str, Any]] = {
    "type": {"type": "Unigram"},
    "type-nasty": {"type": NASTY},
    "word-piece": {"type": "WordPiece", "max_input_chars_per_word": 2**60},
    "dropout": {"dropout": 2.0},
    "dropout-minus": {"dropout": -1},
    "unknown": {"unk_token": "nowhere"},
    "prefix": {"continuing_subword_prefix": "#" * 4_000_000},
    "suffix": {"end_of_word_suffix": "\x00"},
    "fuse-one": {"fuse_unk": 1},
    "byte-fallback": {"byte_fallback": True},
    "ignore-merges": {"ignore_merges": True},
    "cache": {"cache_capacity": 2**60},
    "vocab-none": {"vocab": None},
    "vocab-list": {"vocab": ["a", "b"]},
    "vocab-empty": {"vocab": {}},
    "vocab-minus": {"vocab": {"a": -1}},
    "vocab-2^32": {"vocab": {"a": 2**32}},
    "vocab-2^63": {"vocab": {"a": 2**63}},
    "vocab-fraction": {"vocab": {"a": 0.0}},
    "vocab-true": {"vocab": {"a": True}},
    "vocab-text": {"vocab": {"a": "0"}},
    "vocab-same-ids": {"vocab": {"a": 0, "b": 0}},
    "vocab-without-bytes": {"vocab": {"a": 0, "b": 1}},
    "vocab-long": {"vocab": {"x" * 4_000_000: 0}},
    "vocab-nothing": {"vocab": {"": 0}},
    "vocab-many": {"vocab": {str(number): number for number in range(450_000)}},
    "merges-none": {"merges": None},
    "merges-text": {"merges": "a b"},
    "merges-numbers": {"merges": [1, 2]},
    "merges-three": {"merges": [["a", "b", "c"]]},
    "merges-one-word": {"merges": ["ab"]},
    "merges-of-numbers": {"merges": [[0, 1]]},
    "merges-nowhere": {"merges": [["\x1b[2J", "x" * 1_000_000]]},
    "merges-nothing": {"merges": [["", ""]]},
    "merges-many": {"merges": [["a", "b"]] * 450_000},
}


def _added(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["added_tokens"][-1] |= changes

    return change


def _twice(content: dict[str, Any]) -> None:
    content["added_tokens"].append({**content["added_tokens"][-1], "id": content["added_tokens"][-1]["id"] + 1})


def _more_than_rows(content: dict[str, Any]) -> None:
    last = content["added_tokens"][-1]
    content["added_tokens"] += [{**last, "id": last["id"] + n, "content": f"<{n}>"} for n in range(1, 500)]


ADDED: dict[str, Callable[[dict[str, Any]], None]] = {
    "empty": _added(content=""),
    "long": _added(content="x" * 4_000_000),
    "nasty-long": _added(content=NASTY * 200),
    "number": _added(content=1),
    "id-minus": _added(id=-1),
    "id-2^32": _added(id=2**32),
    "id-of-another": _added(id=0),
    "id-true": _added(id=True),
    "id-beyond": _added(id=5_000_000),
    "flag-text": _added(lstrip="yes"),
    "more": _added(more=1),
    "of-the-vocabulary": _added(content="a"),
    "twice": _twice,
    "more-than-rows": _more_than_rows,
}


def _whole(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def _fields(path: Path, changes: dict[str, Any]) -> None:
    _changed(path, lambda content: content.update(changes))


def _model(path: Path, changes: dict[str, Any]) -> None:
    _changed(path, lambda content: content["model"].update(changes))


INPUTS.add_each(FILE, "json", BROKEN, _whole, FILE)
INPUTS.add_each(FILE, "field", FIELDS, _fields, FILE)
INPUTS.add_each(FILE, "model", MODEL, _model, FILE)
INPUTS.add_each(FILE, "added", ADDED, _changed, FILE)
