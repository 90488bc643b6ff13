"""Loading a model folder: whole or in shards, strict both ways, and each kind of damage named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from mlx_cosyvoice.config import FORMAT_VERSION
from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.weights import ModelFolderError, load_component, load_weights, read_config


class Toy(nn.Module):
    def __init__(self, width: int = 3, bias: bool = True) -> None:
        super().__init__()
        self.layers = [nn.Linear(2, width, bias=bias), nn.LayerNorm(width)]


def parameters(model: nn.Module) -> list[tuple[str, mx.array]]:
    return tree_flatten(model.parameters())  # type: ignore[return-value]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    weights = {f"flow.{key}": value for key, value in parameters(Toy())}
    weights["hift.other"] = mx.zeros(3)
    mx.save_safetensors(str(tmp_path / "model.safetensors"), weights)
    config = {"model_type": "cosyvoice2", "format_version": 1, "components": ["flow"], "dtypes": {"flow": "float32"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def with_config(folder: Path, **changes: Any) -> None:
    content = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in content.items() if value != "DROP"}))


def test_a_component_is_loaded_alone(folder: Path) -> None:
    stored = load_weights(folder)
    model = load_component(Toy(), folder, "flow")
    assert not model.training
    for key, value in parameters(model):
        assert mx.array_equal(value, stored[f"flow.{key}"])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Toy(width=4), ["wrong shape", "flow.layers.0.weight [3, 2] instead of [4, 2]"]),
        (Toy(bias=False), ["not part of the network", "flow.layers.0.bias"]),
        (nn.Linear(2, 2), ["missing", "flow.weight", "flow.bias", "not part of the network"]),
    ],
)
def test_weights_that_do_not_fit_are_named(model: nn.Module, words: list[str], folder: Path) -> None:
    with pytest.raises(ModelFolderError) as error:
        load_component(model, folder, "flow")
    for word in [str(folder), *words]:
        assert word in str(error.value)


def test_a_component_that_was_not_converted_is_named(folder: Path) -> None:
    with pytest.raises(ModelFolderError, match="no weights of 'campplus'"):
        load_component(Toy(), folder, "campplus")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "qwen2"}, ["model_type", "'qwen2'"]),
        ({"model_type": "DROP"}, ["model_type", "None"]),
        ({"format_version": FORMAT_VERSION + 1}, ["newer", "upgrade"]),
        ({"format_version": "1"}, ["format_version", "'1'"]),
        ({"format_version": 0}, ["format_version", "0"]),
        ({"format_version": "DROP"}, ["format_version"]),
        ({"components": ["flow", "vocoder"]}, ["components", "vocoder"]),
        ({"components": []}, ["components"]),
        ({"components": "flow"}, ["components"]),
        ({"dtypes": {}}, ["dtypes"]),
        ({"dtypes": {"flow": "int4"}}, ["dtypes", "int4"]),
        ({"flow": {"vocab_size": "many"}}, ["flow.vocab_size", "'many'"]),
        ({"hift": 3}, ["hift", "3"]),
    ],
)
def test_a_config_that_cannot_be_read_is_named(changes: dict[str, Any], words: list[str], folder: Path) -> None:
    with_config(folder, **changes)
    with pytest.raises(ModelFolderError) as error:
        read_config(folder)
    for word in [str(folder / "config.json"), *words]:
        assert word in str(error.value)


def test_what_a_later_version_adds_is_dropped(folder: Path) -> None:
    with_config(folder, flow={"vocab_size": 5, "new": 1}, extra={}, dtypes={"flow": "float32", "more": "int4"})
    config, meta = read_config(folder)
    assert config.flow.vocab_size == 5
    stored = {"family": COSYVOICE2, "format_version": 1, "components": ["flow"], "dtypes": {"flow": "float32"}}
    assert meta == {**stored, "layer_dtypes": {}, "quantization": None}


def write_text(name: str, text: str) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return apply


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, ["no such folder", "python -m converters"]),
        (lambda folder: (folder / "config.json").unlink(), ["config.json", "no such file", "python -m converters"]),
        (write_text("config.json", "{"), ["config.json", "not JSON"]),
        (write_text("config.json", "[]"), ["config.json", "JSON object"]),
    ],
)
def test_a_folder_without_config_is_named(damage: Callable[[Path], object], words: list[str], folder: Path) -> None:
    damage(folder)
    with pytest.raises(ModelFolderError) as error:
        read_config(folder)
    for word in [str(folder), *words]:
        assert word in str(error.value)


def shorten(count: int) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        path = folder / "model.safetensors"
        os.truncate(path, path.stat().st_size - count)

    return apply


def grow(folder: Path) -> None:
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), ["holds neither", "broken off", "Download"]),
        (write_text("model.safetensors.incomplete", "part"), ["model.safetensors.incomplete", "goes on"]),
        (write_text(".cache/huggingface/download/model.safetensors.abc.incomplete", "part"), ["broken off"]),
        (shorten(1), ["model.safetensors", "cut off"]),
        (shorten(70), ["model.safetensors", "cut off"]),
        (lambda folder: os.truncate(folder / "model.safetensors", 100), ["not a safetensors file"]),
        (lambda folder: os.truncate(folder / "model.safetensors", 4), ["not a safetensors file"]),
        (lambda folder: os.truncate(folder / "model.safetensors", 0), ["not a safetensors file"]),
        (grow, ["its header says"]),
        (write_text("model.safetensors", "<html>404</html>"), ["not a safetensors file"]),
    ],
)
def test_damaged_weights_are_named(damage: Callable[[Path], object], words: list[str], folder: Path) -> None:
    damage(folder)
    with pytest.raises(ModelFolderError) as error:
        load_component(Toy(), folder, "flow")
    for word in [str(folder), *words]:
        assert word in str(error.value)


class TestShards:
    @pytest.fixture
    def sharded(self, folder: Path) -> Path:
        weights = load_weights(folder)
        mx.eval(weights)
        (folder / "model.safetensors").unlink()
        files = {key: f"model-{number}.safetensors" for number, key in enumerate(weights)}
        for key, file in files.items():
            mx.save_safetensors(str(folder / file), {key: weights[key]})
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
        return folder

    def test_they_are_read_together(self, sharded: Path) -> None:
        load_component(Toy(), sharded, "flow")

    def test_a_missing_one_is_named(self, sharded: Path) -> None:
        (sharded / "model-1.safetensors").unlink()
        with pytest.raises(ModelFolderError, match=r"model-1\.safetensors: no such file"):
            load_weights(sharded)

    def test_the_index_cannot_lead_out_of_the_folder(self, sharded: Path) -> None:
        for name in ("../secret.safetensors", "/etc/passwd", "sub/model.safetensors"):
            (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"flow.a": name}}))
            with pytest.raises(ModelFolderError, match="not the name of a file in the folder"):
                load_weights(sharded)

    @pytest.mark.parametrize("content", ["{", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}'])
    def test_an_index_that_is_none_is_named(self, content: str, sharded: Path) -> None:
        (sharded / "model.safetensors.index.json").write_text(content)
        with pytest.raises(ModelFolderError, match=r"index\.json"):
            load_weights(sharded)
