"""The audits of what is stored: whom they name and with what words, and that they accuse no healthy model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from rich.console import Console

from converters.convert import convert
from mlx_cosyvoice.weights import ModelFolderError
from mlx_parity.audit.evidence import evidence, rounded
from mlx_parity.compare import Verdict
from mlx_parity.report.terminal import print_report
from parity.audit import audit, packed
from parity.audit.config import flat
from parity.audit.packed import audit_packed, unpacked
from parity.audit.texts import made_up_texts
from parity.faults import choose
from parity.inputs import load_inputs
from parity.pair import Pair, load_pair
from parity.run import run
from parity.search import localise
from parity.stages import STAGES
from reference.families import COSYVOICE2
from reference.official_config import official_config, said_by
from tests.support.checkpoints import damaged_copy

#: Field of config.json that no official file says -> why not. Each ends where the next dot would be.
OUR_OWN = {
    "model_type": "names the family that the folder is read as",
    "format_version": "counts the changes of our own format",
    "components": "lists what was converted",
    "dtypes": "chosen when it was converted; every tensor is held to it",
    "layer_dtypes": "chosen when it was converted; every tensor is held to it",
    "quantization": "chosen when it was converted; every packed tensor is held to it",
    "quantization_config": "repeats `quantization` under the name that the Hugging Face hub looks for",
}

OFFICIAL = np.random.default_rng(0).standard_normal((6, 6)).astype(np.float32)
OTHER = np.random.default_rng(1).standard_normal((6, 6)).astype(np.float32)


def exchanged(array: np.ndarray, first: int, second: int) -> np.ndarray:
    array = array.copy()
    array[[first, second]] = array[[second, first]]
    return array


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array[2, 3] = value
    return array


CHANGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str, str]] = {
    "a factor": (lambda a: a * np.float32(1.01), "float32", "times 1.01"),
    "a factor in half precision": (lambda a: rounded(a * np.float32(1.01), "float16"), "float16", "times 1.01"),
    "a sign": (lambda a: -a, "float32", "times -1"),
    "a sum": (lambda a: a + np.float32(0.25), "float32", "plus 0.25"),
    "another tensor": (lambda a: OTHER, "float32", "equals other.weight"),
    "a transposed square": (lambda a: a.T, "float32", "transposed"),
    "reversed": (lambda a: a[:, ::-1], "float32", "reversed along axis 1"),
    "two rows": (lambda a: exchanged(a, 1, 4), "float32", "1 and 4 are exchanged along axis 0"),
    "shifted": (lambda a: np.roll(a, 1, axis=0), "float32", "shifted by 1 along axis 0"),
    "coarser": (lambda a: rounded(a, "bfloat16"), "float32", "rounded to bfloat16"),
    "zeros": (np.zeros_like, "float32", "is 0 throughout"),
    "NaN": (lambda a: with_value(a, np.nan), "float32", "1 of 36 values are NaN or infinite"),
    "one value": (lambda a: with_value(a, 9), "float32", "1 of 36 values differ, first at [2, 3], by up to "),
    "a shape": (lambda a: a[:3], "float32", "has shape [3, 6], the official one [6, 6]"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_evidence_says_what_was_done(kind: str) -> None:
    change, dtype, words = CHANGES[kind]
    assert evidence(change(OFFICIAL), OFFICIAL, dtype, [("other.weight", OTHER)]).startswith(words)


def packed_parts(bits: int) -> tuple[np.ndarray, dict[str, mx.array]]:
    official = rounded(np.random.default_rng(2).standard_normal((32, 256)), "float16")
    weight, scales, biases = mx.quantize(mx.array(official).astype(mx.float16), group_size=32, bits=bits)
    return official, {"weight": weight, "scales": scales, "biases": biases}


def wrong_parts(official: np.ndarray, parts: dict[str, mx.array], bits: int) -> set[str]:
    layers = audit_packed("", parts, official, bits, 32, "float32")
    return {layer.path for layer in layers if layer.verdict is not Verdict.PASS}


@pytest.mark.parametrize("bits", [4, 8])
class TestPacked:
    @pytest.mark.parametrize("exactly", [True, False])
    def test_right_ones_pass(self, bits: int, exactly: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """By the bits that MLX makes here, and by the grid where another device has made others."""
        if not exactly:
            monkeypatch.setattr(packed, "_is_packed_so", lambda *_: False)
        official, parts = packed_parts(bits)
        assert not wrong_parts(official, parts, bits)

    def test_numbers_are_unpacked_as_mlx_does(self, bits: int) -> None:
        _, parts = packed_parts(bits)
        scales = mx.ones(parts["scales"].shape)
        expected = mx.dequantize(parts["weight"], scales, scales * 0, group_size=32, bits=bits)
        np.testing.assert_array_equal(unpacked(np.array(parts["weight"]), bits), np.array(expected))

    @pytest.mark.parametrize("name", ["scales", "biases"])
    def test_a_group_is_found(self, bits: int, name: str) -> None:
        official, parts = packed_parts(bits)
        array = np.array(parts[name])
        array[3, 2] *= 1.01
        assert wrong_parts(official, {**parts, name: mx.array(array)}, bits) == {name}

    def test_a_single_number_is_found(self, bits: int) -> None:
        official, parts = packed_parts(bits)
        numbers = np.array(parts["weight"])
        numbers[5, 1] ^= 1 << bits
        assert wrong_parts(official, {**parts, "weight": mx.array(numbers)}, bits) == {"weight"}


HEALTHY: dict[str, dict[str, Any]] = {
    "float16": {"dtype": "float16", "keep_float32": ()},
    "4 bits": {"quantize": 4, "group_size": 32, "quantize_components": ("llm", "flow")},
    "a recipe": {
        "dtype": "bfloat16",
        "quantize": 8,
        "keep_float32_layers": ["flow.encoder.embed", "llm.llm.model.model.layers.0.mlp"],
    },
    "shards": {"dtype": "bfloat16", "max_shard_bytes": 4 << 20},
}


def accused(pair: Pair) -> list[str]:
    return [
        f"{layer.path}: {layer.reason}" for report in audit(pair) for layer in report.layers if layer.verdict != "pass"
    ]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "a recipe" else pytest.mark.slow) for kind in HEALTHY]
)
def test_no_healthy_model_is_accused(kind: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    pair = load_pair(tiny_checkpoint, convert(tiny_checkpoint, tmp_path / "model", **HEALTHY[kind]).out)
    assert not accused(pair)
    for component in pair.model.dtypes:
        getattr(pair.model, component)  # is read, so that the live tensors are judged
    assert not accused(pair)


def test_another_file_for_the_language_model(tiny_checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "llm.rl.pt"
    state = torch.load(tiny_checkpoint / "llm.pt", weights_only=True)
    torch.save({key: 2 * tensor for key, tensor in state.items()}, other)
    model = convert(tiny_checkpoint, tmp_path / "model", llm=other).out
    assert not accused(load_pair(tiny_checkpoint, model, other))
    wrong = accused(load_pair(tiny_checkpoint, model))
    assert "llm.llm_decoder.weight: times 2" in wrong
    assert all(line.startswith("llm.") for line in wrong)


def test_run_and_localise_name_what_is_stored_first(tiny_checkpoint: Path, tiny_model: Path) -> None:
    pair, inputs = load_pair(tiny_checkpoint, tiny_model), load_inputs()
    for fault in choose(["stored-tokens-exchanged"]):
        with fault.switch(pair):
            reports = [search(pair, inputs, stages=[fault.stage]) for search in (run, localise)]
        for report in reports:
            assert report.verdict is Verdict.DIVERGED
            assert {culprit.module for culprit in report.culprits} == set(fault.expected)
            printed = StringIO()
            print_report(report, Console(file=printed, width=200), "failed")
            assert "tokenizer.json: added token '[cough]'" in printed.getvalue()  # brackets are no markup


def leaves(fields: dict[str, Any]) -> Iterator[str]:
    """Paths of fields, without what stands within those that are our own."""
    yield from (field for field, _ in flat({name: value for name, value in fields.items() if name not in OUR_OWN}))


def test_every_field_of_config_json_is_accounted_for(tiny_checkpoint: Path, tiny_model: Path) -> None:
    pair = load_pair(tiny_checkpoint, tiny_model)
    content = json.loads((tiny_model / "config.json").read_text())
    held = {layer.path for report in audit(pair, STAGES) for layer in report.layers if layer.type == "config"}
    assert {f"config.json: {field}" for field in leaves(content)} <= held
    graphs = {name for name, network in COSYVOICE2.networks.items() if network.graph}
    said = {field for field in leaves(content) if field.split(".")[0] not in graphs}
    assert said <= said_by(COSYVOICE2).keys()


def test_an_early_yaml_says_less(tiny_checkpoint: Path, tmp_path: Path) -> None:
    def earlier(path: Path) -> None:
        late = (
            "mix_ratio",
            "static_chunk_size",
            "num_decoding_left_chunks: !ref",
            "token_frame_rate",
            "token_mel_ratio",
        )
        lines = path.read_text().splitlines()
        path.write_text("\n".join(line for line in lines if not line.strip().startswith(late)))

    copy = damaged_copy(tiny_checkpoint, tmp_path / "checkpoint", "cosyvoice2.yaml", earlier)
    names = ["cosyvoice2.yaml", "CosyVoice-BlankEN/config.json", *(one.file for one in COSYVOICE2.networks.values())]
    configs = [
        official_config(COSYVOICE2, {name: folder / name for name in names}) for folder in (tiny_checkpoint, copy)
    ]
    assert configs[0] == configs[1]


def test_texts_are_the_same_ones_and_of_many_scripts() -> None:
    texts = list(made_up_texts(300, ["[breath]"], ["hello"]))
    assert texts == list(made_up_texts(300, ["[breath]"], ["hello"]))
    letters = {ord(character) >> 8 for text in texts for character in text}
    assert len(letters) > 100
    assert 60 < sum("[breath]" in text for text in texts) < 140


def test_a_size_that_weights_do_not_fit_is_named(tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path) -> None:
    model = damaged_copy(
        tiny_model,
        tmp_path / "model",
        "config.json",
        lambda path: path.write_text(path.read_text().replace('"nb_harmonics": 8', '"nb_harmonics": 9')),
    )
    with pytest.raises(ModelFolderError, match=r"config.json: hift.nb_harmonics is 9, the checkpoint has 8$"):
        load_pair(tiny_checkpoint, model)
