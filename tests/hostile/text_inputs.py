"""Hostile JSON and text beside the weights: the configuration of Qwen2, its vocabulary, and recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.hostile.harness import Inputs

FOLDER = "CosyVoice-BlankEN"
CONFIG, VOCAB = f"{FOLDER}/config.json", f"{FOLDER}/vocab.json"
MERGES, ADDED = f"{FOLDER}/merges.txt", f"{FOLDER}/tokenizer_config.json"
RECIPE = "recipe.json"
INPUTS = Inputs()

_DEEP = "[" * 100_000 + "]" * 100_000

_BROKEN: dict[str, bytes] = {
    "list": b"[1]",
    "null": b"null",
    "cut": b'{"a": ',
    "deep": f'{{"a": {_DEEP}}}'.encode(),
    "deep-objects": ('{"a":' * 5000 + "1" + "}" * 5000).encode(),
    "twice": b'{"a": 1, "a": 2}',
    "nan": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "overflow": b'{"a": 1e400}',
    "digits": b'{"a": ' + b"9" * 5000 + b"}",
    "half-a-character": b'{"a": "\\ud800"}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "binary": bytes(range(256)),
    "nul": b'{"a": "\x00"}',
    "too-large": b'{"a": "' + b"x" * (17 << 20) + b'"}',
    "many-lists": b"[" + b"[]," * 600_000 + b"[]]",
}


def _whole(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _fields(path: Path, changes: dict[str, Any]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


for _file in (CONFIG, VOCAB, ADDED, RECIPE):
    INPUTS.add_each(_file, "json", _BROKEN, _whole, Path(_file).name)

INPUTS.add_each(CONFIG, "value", {
    "no-theta": {"rope_theta": 0},
    "minus-theta": {"rope_theta": -10000.0},
    "theta-text": {"rope_theta": "1e6"},
    "no-eps": {"rms_norm_eps": 0},
    "minus-eps": {"rms_norm_eps": -1e-6},
    "eps": {"rms_norm_eps": 1e10},
    "eps-list": {"rms_norm_eps": [1e-6]},
    "layers": {"num_hidden_layers": 10**9},
    "some-layers": {"num_hidden_layers": 500},
    "one-layer-more": {"num_hidden_layers": 3},
    "no-layers": {"num_hidden_layers": 0},
    "true-layers": {"num_hidden_layers": True},
    "layers-null": {"num_hidden_layers": None},
    "layers-fraction": {"num_hidden_layers": 2.0},
    "no-heads": {"num_attention_heads": 0},
    "no-shared-heads": {"num_key_value_heads": 0},
    "minus-heads": {"num_key_value_heads": -2},
    "odd-heads": {"num_attention_heads": 3},
    "head-width": {"head_dim": 10**30},
    "head-width-list": {"head_dim": [[[["x" * 1000]]]]},
    "width": {"hidden_size": 10**9},
    "inner-width": {"intermediate_size": 131072},
    "words": {"vocab_size": 10_000_000},
    "digits": {"vocab_size": 10**39},
    "positions": {"max_position_embeddings": 0},
    "act": {"hidden_act": "\x1b[31m" * 1000},
    "act-list": {"hidden_act": [[]] * 10_000},
    "scaling": {"rope_scaling": {str(n): n for n in range(10_000)}},
}, _fields, "config.json")  # fmt: skip


def _vocab(path: Path, change: Any) -> None:
    ids = json.loads(path.read_text())
    change(ids)
    path.write_text(json.dumps(ids))


INPUTS.add_each(VOCAB, "ids", {
    "minus": lambda ids: ids.update(a=-1),
    "fraction": lambda ids: ids.update(a=1.0),
    "true": lambda ids: ids.update(a=True),
    "huge": lambda ids: ids.update(a=10**39),
    "gap": lambda ids: ids.update(a=10**9),
    "same": lambda ids: ids.update(a=ids["b"]),
    "nothing": lambda ids: ids.clear(),
    "no-bytes": lambda ids: ids.pop("a"),
    "long-token": lambda ids: ids.update({"x" * 4_000_000: len(ids)}),
    "empty-token": lambda ids: ids.update({"": len(ids)}),
    "list": lambda ids: ids.update(a=[1] * 1000),
    "too-many": lambda ids: ids.update({f"t{n}": len(ids) + n for n in range(2000)}),
}, _vocab, "vocab.json")  # fmt: skip


def _lines(path: Path, content: bytes) -> None:
    path.write_bytes(path.read_bytes() + content)


INPUTS.add_each(MERGES, "line", {
    "one-word": b"a\n",
    "three-words": b"a b c\n",
    "unknown": b"nowhere else\n",
    "long": b"x" * 4_000_000 + b" y\n",
    "many-words": b"x " * 2_000_000 + b"\n",
    "not-text": b"\xff\xfe \xff\n",
    "escape": b"\x1b[2J\x1b[1m a\n",
    "nul": b"\x00 a\n",
    "too-large": b"\n" * (17 << 20),
}, _lines, "merges.txt")  # fmt: skip


@INPUTS.add(MERGES, "already")
def twice(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join([*lines[:3], lines[1], *lines[3:]]), encoding="utf-8")


INPUTS.add_each(ADDED, "added", {
    "list": {"added_tokens_decoder": []},
    "text": {"added_tokens_decoder": "x" * 10_000},
    "null": {"added_tokens_decoder": None},
    "no-number": {"added_tokens_decoder": {"one": {"content": "x"}}},
    "digits": {"added_tokens_decoder": {"9" * 5000: {"content": "x"}}},
    "other-digits": {"added_tokens_decoder": {"\u0661": {"content": "x"}}},
    "no-content": {"added_tokens_decoder": {"1": {}}},
    "content-list": {"added_tokens_decoder": {"1": {"content": ["x"]}}},
    "entry-list": {"added_tokens_decoder": {"1": ["x"]}},
    "empty": {"added_tokens_decoder": {"903": {"content": ""}}},
    "long": {"added_tokens_decoder": {"903": {"content": "x" * 1_000_000}}},
    "escape": {"added_tokens_decoder": {"5": {"content": "\x1b[2J"}}},
    "other-id": {"added_tokens_decoder": {"999999999": {"content": "<x>"}}},
    "many": {"added_tokens_decoder": {str(n): {"content": f"<{n}>"} for n in range(20_000)}},
    "too-many-for-the-model": {"added_tokens_decoder": {str(500 + n): {"content": f"<{n}>"} for n in range(900)}},
}, _fields, "CosyVoice-BlankEN")  # fmt: skip


def _recipe(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


INPUTS.add_each(RECIPE, "recipe", {
    "unknown": {"x" * 4000: 1},
    "dtype": {"dtype": "float8"},
    "dtype-list": {"dtype": ["float16"]},
    "dtype-object": {"dtype": {}},
    "bits": {"quantize": 5},
    "bits-fraction": {"quantize": 4.0},
    "bits-list": {"quantize": [4]},
    "bits-true": {"quantize": True},
    "group": {"quantize": 4, "group_size": 10**30},
    "keep": {"keep": "flow"},
    "keep-numbers": {"keep": [1, 2]},
    "keep-unknown": {"dtype": "float16", "keep": ["\x1b[31m" * 20_000]},
    "keep-many": {"dtype": "float16", "keep": ["nowhere"] * 100_000},
}, _recipe)  # fmt: skip

INPUTS.add_each(CONFIG, "value", {"wide": {"hidden_size": 131072}}, _fields, "CosyVoice-BlankEN")
INPUTS.add_each(
    CONFIG, "value", {"shared-heads": {"num_attention_heads": 1, "num_key_value_heads": 1}}, _fields, "llm.pt", "shape"
)
