"""The converters and the reference read the same files with other code: a mistake on one side shows.

Each of the converters' readers is made wrong here; the model that is converted then computes what it was given, and no
stage need feel it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import converters.checkpoint
import converters.families.cosyvoice2
import mlx_cosyvoice.text.build
from converters.convert import convert
from converters.onnx_graph import OnnxGraph
from parity.__main__ import main

Patch = pytest.MonkeyPatch


class Slip(NamedTuple):
    """A mistake of a reader: what puts it in, the stage whose component it is in, who is named, and with what words."""

    make: Callable[[Patch], None]
    stage: str
    culprit: str
    evidence: str


def wrapped(patch: Patch, owner: Any, name: str, change: Callable[..., Any]) -> None:
    """Let `change(result, *arguments)` be what a function returns."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **kwargs: change(original(*args, **kwargs), *args))


def yaml(patch: Patch) -> None:
    def change(content: dict[str, Any], *_: Any) -> dict[str, Any]:
        content["llm"].arguments["sampling"].arguments["win_size"] = 11
        return content

    wrapped(patch, converters.checkpoint, "read_yaml", change)


def yaml_reference(patch: Patch) -> None:
    def change(content: dict[str, Any], *_: Any) -> dict[str, Any]:
        content["hift"].arguments["nsf_voiced_threshold"] += 5
        return content

    wrapped(patch, converters.checkpoint, "read_yaml", change)


def qwen(patch: Patch) -> None:
    def change(fields: dict[str, Any], *_: Any) -> dict[str, Any]:
        return {**fields, "max_position_embeddings": 2048}

    wrapped(patch, converters.families.cosyvoice2, "read_qwen_config", change)


def onnx(patch: Patch) -> None:
    def change(weight: np.ndarray, graph: Any, node: Any, *_: Any) -> np.ndarray:
        return weight.T if node.name == "/blocks.1/attn/value/MatMul" else weight

    wrapped(patch, OnnxGraph, "weight", change)


def state_dict(patch: Patch) -> None:
    def change(array: np.ndarray, tensor: Any, key: str, *_: Any) -> np.ndarray:
        return array * np.float32(1.01) if key == "llm_decoder.bias" else array

    wrapped(patch, converters.checkpoint, "as_float32", change)


def merges(patch: Patch) -> None:
    wrapped(patch, mlx_cosyvoice.text.build, "_read_merges", lambda pairs, *_: pairs[:400] + pairs[401:])


def noise(patch: Patch) -> None:
    def drawn(channels: int) -> torch.Tensor:
        return torch.randn(1, channels, 15000, generator=torch.Generator().manual_seed(1))

    patch.setattr(converters.families.cosyvoice2, "_fixed_noise", drawn)


SLIPS = {
    "a value of the YAML": Slip(yaml, "llm", "config.json: llm.sampling.win_size", "is 11, the checkpoint says 10"),
    "a threshold of the YAML": Slip(yaml_reference, "vocoder", "config.json: hift.nsf_voiced_threshold", "says 10 "),
    "a value of Qwen's": Slip(qwen, "llm", "config.json: llm.qwen.max_position_embeddings", "config.json: max_pos"),
    "a transposed ONNX tensor": Slip(
        onnx, "speech_tokenizer", "speech_tokenizer.encoder.blocks.1.attn.value", "`weight` transposed"
    ),
    "a factor": Slip(state_dict, "llm", "llm.llm_decoder", "`bias` times 1.01"),
    "a dropped merge": Slip(merges, "text_tokenizer", "tokenizer.json: merge", "missing, merges.txt has it"),
    "another seed": Slip(noise, "flow_encoder", "flow.decoder", "`rand_noise` "),
}


#: Those whose stage needs no other's results on the reference.
QUICK = ("a value of the YAML", "a transposed ONNX tensor", "a dropped merge")


@pytest.mark.parametrize(
    "slip",
    [pytest.param(slip, marks=() if name in QUICK else pytest.mark.slow, id=name) for name, slip in SLIPS.items()],
)
def test_a_slip_of_a_reader_is_named(slip: Slip, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    with monkeypatch.context() as patch:
        slip.make(patch)
        convert(tiny_checkpoint, tmp_path / "model")
    files = ["--checkpoint", str(tiny_checkpoint), "--model", str(tmp_path / "model")]
    written = ["--stages", slip.stage, "--layers", "none", "--json", str(tmp_path / "parity.json")]
    assert main(["run", *files, *written]) == 1
    result = json.loads((tmp_path / "parity.json").read_text())
    first = result["culprits"][0]
    assert first["module"].startswith(slip.culprit)
    assert slip.evidence in first["evidence"][0]
