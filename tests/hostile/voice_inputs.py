"""Hostile voices and speakers, in safetensors files whose headers are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.harness import Inputs
from tests.hostile.safetensors_inputs import NASTY, change, of_any_kind, replace

VOICE, SPEAKERS = "anna.safetensors", "spk2info.safetensors"
INPUTS = Inputs([*of_any_kind(VOICE), *of_any_kind(SPEAKERS)])


def _tokens(count: int, value: int = 5) -> dict[str, Any]:
    return {
        "prompt_token": ("I32", [1, count], np.full(count, value, "<i4").tobytes()),
        "prompt_feat": ("F32", [1, 2 * count, 80], bytes(2 * count * 80 * 4)),
    }


def _embedding(value: float) -> dict[str, Any]:
    return {"embedding": ("F32", [1, 192], np.full(192, value, "<f4").tobytes())}


INPUTS.add_each(VOICE, "tensors", {
    "one-token-too-many": _tokens(751),
    "minutes": _tokens(5000),
    "empty-mel-of-many-tokens": {"prompt_token": ("I64", [1, 100_000], bytes(800_000))},
    "token-beyond": _tokens(7, 6561),
    "token-minus": _tokens(7, -1),
    "token-2^31": _tokens(7, -(2**31)),
    "token-fraction": {"prompt_token": ("F32", [1, 7], bytes(28))},
    "token-true": {"prompt_token": ("BOOL", [1, 7], b"\x01" * 7)},
    "no-tokens-with-mel": {"prompt_token": ("I32", [1, 0], b"")},
    "mel-of-40-MB": {"prompt_feat": ("F32", [1, 131072, 80], bytes(131072 * 80 * 4))},
    "mel-turned": {"prompt_feat": ("F32", [1, 80, 14], bytes(80 * 14 * 4))},
    "mel-of-no-axes": {"prompt_feat": ("F32", [], bytes(4))},
    "mel-none-of-many": {"prompt_feat": ("F32", [0, 2**31 - 1, 2**31 - 1], b"")},
    "bfloat16": {"embedding": ("BF16", [1, 192], bytes(384))},
    "nan": _embedding(float("nan")),
    "infinity": _embedding(float("inf")),
    "beyond-float32": {"embedding": ("F64", [1, 192], np.full(192, 1e300, "<f8").tobytes())},
    "no-embedding": {"embedding": None},
    "no-mel": {"prompt_feat": None},
    "another-tensor": {"weights": ("F32", [2], bytes(8))},
    "another-nasty-tensor": {NASTY * 1000: ("F32", [2], bytes(8))},
}, replace, VOICE)  # fmt: skip


def _metadata(path: Path, texts: dict[str, Any]) -> None:
    change(path, **texts)


INPUTS.add_each(VOICE, "metadata", {
    "no-format": {"format": ""},
    "nasty-format": {"format": NASTY * 100_000},
    "version-of-5000-digits": {"version": "9" * 5000},
    "version-squared": {"version": "\u00b2"},
    "version-minus": {"version": "-1"},
    "ids-beyond": {"prompt_text": f"[{2**31}]"},
    "ids-of-5000-digits": {"prompt_text": f"[{'9' * 5000}]"},
    "ids-minus": {"prompt_text": "[-1]"},
    "ids-true": {"prompt_text": "[true]"},
    "ids-fraction": {"prompt_text": "[1.0]"},
    "ids-nan": {"prompt_text": "[NaN]"},
    "ids-deep": {"prompt_text": "[" * 100_000 + "]" * 100_000},
    "ids-object": {"prompt_text": "{}"},
    "many-ids": {"prompt_text": json.dumps([1] * 500_000)},
    "too-many-ids": {"prompt_text": json.dumps([1] * 2_000_000)},
    "long-transcript": {"transcript": "ha " * 1_000_000},
    "marks-in-the-transcript": {"transcript": "\u0301\u0323" * 1_000_000},
    "provenance-twice": {"provenance": '{"a": "1", "a": "2"}'},
    "provenance-list": {"provenance": '["a"]'},
    "provenance-deep": {"provenance": '{"a": ' * 100_000 + '""' + "}" * 100_000},
    "provenance-number": {"provenance": '{"\\u001b[2J": 1}'},
    "provenance-half-a-character": {"provenance": '{"a": "\\udfff"}'},
    "much-provenance": {"provenance": json.dumps({str(n): "" for n in range(10_000)})},
    "long-provenance": {"provenance": json.dumps({"a": "x" * 1_000_000})},
}, _metadata, VOICE)  # fmt: skip


def _speakers(path: Path, texts: Any) -> None:
    change(path, voices=texts if isinstance(texts, str) else json.dumps(texts))


_LONG = "x" * (2 << 20)

INPUTS.add_each(SPEAKERS, "voices", {
    "nasty-name": {NASTY: {}},
    "long-name": {_LONG: {}},
    "nobody": {},
    "list": [1],
    "names-only": {"anna": None},
    "number": {"anna": 3},
    "twice": '{"anna": {}, "anna": {}}',
    "deep": '{"anna": ' * 50_000 + "{}" + "}" * 50_000,
    "one-without-tensors": {"anna": {}, "ben": {}},
    "many-without-tensors": {str(n): {} for n in range(50_000)},
    "transcript-number": {"anna": {"transcript": 3}},
    "transcript-long": {"anna": {"transcript": _LONG}},
    "ids-text": {"anna": {"prompt_text": "12"}},
    "ids-nested": {"anna": {"prompt_text": [[1]]}},
    "ids-none": {"anna": {"prompt_text": []}},
    "provenance-text": {"anna": {"provenance": "x"}},
    "provenance-nested": {"anna": {"provenance": {"a": {"b": "c"}}}},
    "half-a-name": '{"\\ud834": {}}',
}, _speakers, SPEAKERS)  # fmt: skip

INPUTS.add_each(SPEAKERS, "tensors", {
    "of-nobody": {"\x1b[31mben/embedding": ("F32", [1, 192], bytes(768))},
    "tokens-alone": {"anna/prompt_feat": None},
    "mel-of-40-MB": {"anna/prompt_feat": ("F32", [1, 131072, 80], bytes(131072 * 80 * 4))},
    "embedding-wide": {"anna/embedding": ("F32", [1, 200_000], bytes(800_000))},
}, replace, SPEAKERS)  # fmt: skip
