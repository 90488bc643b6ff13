"""The text tokenizer beside the official files: its tables whole, its other parts, and what it makes of many texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mlx_parity.compare import Layer, Verdict
from parity.audit.texts import made_up_texts
from parity.pair import Pair
from parity.stages.text import TextTokenizer as Stage
from reference.text_tokenizer import WORDS, TextTokenizer

FILE = "tokenizer.json"

#: How many wrong entries of a table are named.
MOST = 8

TEXTS = 300

#: All but the tables, as Qwen2's tokenizer works.
PARTS: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        ],
    },
    "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "model": {
        "type": "BPE",
        **dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")),
        **dict.fromkeys(("fuse_unk", "byte_fallback", "ignore_merges"), False),
    },
}


def audit_tokenizer(pair: Pair, component: str) -> list[Layer]:
    """Layers of the text tokenizer; none for other components."""
    if component != Stage.component or pair.model.text_tokenizer is None:
        return []
    official = pair.original.component(component, "float32")
    live = pair.model.text_tokenizer
    content = json.loads(live._tokenizer.to_str())
    added = {entry.pop("content"): entry for entry in content.pop("added_tokens")}
    vocabulary, merges = content["model"].pop("vocab"), content["model"].pop("merges")
    ranks = {tuple(pair.split(" ") if isinstance(pair, str) else pair): rank for rank, pair in enumerate(merges)}
    layers = [
        *_table("token", vocabulary, official.ids, "vocab.json"),
        *_table("merge", _joined(ranks), _joined(official.ranks), "merges.txt"),
        *_table("added token", added, official.added, "the official list"),
        *_parts(content),
    ]
    wrong = any(layer.verdict is not Verdict.PASS for layer in layers)
    return layers if wrong else [*layers, _texts(live, official)]


def _layer(what: str, reason: str, verdict: Verdict = Verdict.DIVERGED) -> Layer:
    return Layer(f"{FILE}: {what}", "tokenizer", verdict, reason=reason)


def _joined(ranks: Mapping[tuple[str, ...], int]) -> dict[str, int]:
    return {" ".join(pair): rank for pair, rank in ranks.items()}


def _table(what: str, model: Mapping[str, Any], official: Mapping[str, Any], file: str) -> Iterator[Layer]:
    """The entries that differ; or the table as a whole, where all are equal or too many are not."""
    wrong = {key: f"missing, {file} has it" for key in official if key not in model}
    wrong |= {key: f"{file} has no such" for key in model if key not in official}
    if not wrong:  # or they would follow from that
        changed = [key for key in official if model[key] != official[key]]
        wrong = {
            key: f"is {_said(model[key], official[key])}, {file} says {_said(official[key], model[key])}"
            for key in changed
        }
    if not wrong:
        yield _layer(f"{what}s", f"{len(official)} equal", Verdict.PASS)
    elif len(wrong) > MOST:
        yield _layer(f"{what}s", f"{len(wrong)} differ: " + "; ".join(f"{key!r} {wrong[key]}" for key in [*wrong][:3]))
    else:
        yield from (_layer(f"{what} {key!r}", reason) for key, reason in wrong.items())


def _said(entry: Any, other: Any) -> str:
    """An entry; of several fields those that another one has otherwise."""
    if not isinstance(entry, dict):
        return f"number {entry}"
    return ", ".join(f"{name} {value}" for name, value in entry.items() if value != other.get(name))


def _parts(content: Mapping[str, Any]) -> Iterator[Layer]:
    for part in sorted(content.keys() | PARTS.keys()):
        found, expected = content.get(part), PARTS.get(part)
        if found == expected:
            yield _layer(part, "equal", Verdict.PASS)
        else:
            yield _layer(part, f"is {json.dumps(found)}, Qwen2's is {json.dumps(expected)}")


def _texts(live: Any, official: TextTokenizer) -> Layer:
    """Whether both make the same ids of many texts, and the same texts of these."""
    vocabulary = [
        word for word in map(official.decode, ([number] for number in official.ids.values())) if word.isprintable()
    ]
    texts = [*official.added, *made_up_texts(TEXTS, [*official.added], vocabulary)]
    wrong = [text for text in texts if not _alike(live, official, text)]
    if not wrong:
        return _layer("texts", f"{len(texts)} are encoded and decoded alike", Verdict.PASS)
    found, expected = live.encode(wrong[0]), official.encode(wrong[0])
    reason = f"{len(wrong)} of {len(texts)} differ, first {wrong[0]!r}: {found}, the reference's {expected}"
    return _layer("texts", reason)


def _alike(live: Any, official: TextTokenizer, text: str) -> bool:
    ids = official.encode(text)
    return bool(list(live.encode(text)) == ids and live.decode(ids) == official.decode(ids))
