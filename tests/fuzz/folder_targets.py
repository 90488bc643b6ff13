"""Readers of model folders and voices, of whose files a header or a text is changed: sizes and sums stay right."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.voices import Voice, read_spk2info_safetensors, write_spk2info_safetensors
from mlx_cosyvoice.weights import INDEX, load_weights

_SHARD = "model-00001-of-00001.safetensors"


def _voice() -> Voice:
    return Voice(
        prompt_token=np.arange(6, dtype=np.int32).reshape(1, 6),
        prompt_feat=np.zeros((1, 12, 80), np.float32),
        embedding=np.full((1, 192), 0.1, np.float32),
        transcript="Hello.",
        prompt_text=(1, 2),
        provenance={"source": "a.wav"},
    )


@cache
def _content(kind: str) -> bytes:
    """A valid file of voices, of speakers, or of weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "valid.safetensors"
        if kind == "voice":
            _voice().save(path)
        elif kind == "speakers":
            write_spk2info_safetensors(path, {"anna": _voice(), "ben": _voice()})
        else:
            mx.save_safetensors(str(path), {"llm.a": mx.zeros((2, 3)), "llm.b": mx.zeros((4,), dtype=mx.float16)})
        return path.read_bytes()


def header(kind: str) -> Callable[[], bytes]:
    """The header alone, as JSON."""

    def seed() -> bytes:
        content = _content(kind)
        return content[8 : 8 + int.from_bytes(content[:8], "little")].rstrip()

    return seed


def with_header(kind: str) -> Callable[[bytes], bytes]:
    """A file with that header, its length and the data of the valid file."""

    def wrap(text: bytes) -> bytes:
        content = _content(kind)
        return len(text).to_bytes(8, "little") + text + content[8 + int.from_bytes(content[:8], "little") :]

    return wrap


def texts() -> bytes:
    """What the string map says of speakers."""
    return bytes(json.loads(header("speakers")())["__metadata__"]["voices"], "utf-8")


def with_texts(text: bytes) -> bytes:
    """A file of speakers with that in its string map."""
    fields = json.loads(header("speakers")())
    fields["__metadata__"]["voices"] = text.decode("utf-8", "surrogateescape")
    return with_header("speakers")(json.dumps(fields).encode())


def index() -> bytes:
    return json.dumps({"metadata": {}, "weight_map": {"llm.a": _SHARD, "llm.b": _SHARD}}).encode()


def read_shards(path: Path) -> Any:
    """Read the folder of an index."""
    (path.parent / _SHARD).write_bytes(_content("weights"))
    return load_weights(path.parent)


#: Name -> file, seed, reader, and what makes the file of the mutated part.
FOLDER_TARGETS: dict[str, tuple[Any, ...]] = {
    "voice-header": ("anna.safetensors", header("voice"), Voice.load, with_header("voice")),
    "speakers-header": (
        "spk2info.safetensors",
        header("speakers"),
        read_spk2info_safetensors,
        with_header("speakers"),
    ),
    "speakers-texts": ("spk2info.safetensors", texts, read_spk2info_safetensors, with_texts),
    "weights-header": (
        "model.safetensors",
        header("weights"),
        lambda path: mx.eval(load_weights(path.parent)),
        with_header("weights"),
    ),
    "index": (INDEX, index, read_shards),
}
