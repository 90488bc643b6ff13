"""The converted model: every value, every key, in every dtype."""

from __future__ import annotations

import hashlib
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from converters import __main__ as cli
from converters import checkpoint
from converters.convert import convert
from mlx_cosyvoice.config import CosyVoice2Config, from_dict
from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.nn.official import from_official
from mlx_cosyvoice.text import TextTokenizer
from mlx_cosyvoice.voices import read_spk2info_safetensors
from mlx_cosyvoice.weights import load_component, load_weights, read_config
from reference.synthetic import recipe
from reference.synthetic.sizes import TINY
from tests.support.checkpoints import change_state, damaged_copy, snapshot
from tests.support.golden import golden, official_shapes, recipe_state_dict
from tests.support.official_config import read_model_config
from tests.support.voices import zero_shot_entry

KEEP_FLOAT32 = ("hift", "campplus", "speech_tokenizer")
NOISE = "decoder.rand_noise"
CONFIG = from_dict(CosyVoice2Config, TINY)
PREFIXES = {"speech_tokenizer": "speech_tokenizer.", "campplus": "campplus."}


def official_name(component: str) -> str:
    return component if component == "campplus" else f"{component}.tiny"


@pytest.fixture(scope="module")
def weights(tiny_model: Path) -> dict[str, mx.array]:
    return load_weights(tiny_model)


def test_config_json_holds_the_sizes_and_loads(tiny_model: Path, tiny_checkpoint: Path) -> None:
    config, meta = read_config(tiny_model)
    assert config == CONFIG == read_model_config(tiny_checkpoint)
    assert meta == {
        "format_version": 1,
        "family": COSYVOICE2,
        "components": list(COSYVOICE2.names),
        "dtypes": dict.fromkeys(COSYVOICE2.names, "float32"),
        "layer_dtypes": {},
        "quantization": None,
    }


@pytest.mark.parametrize("component", ["llm", "flow", "hift", "speech_tokenizer"])
def test_every_value_is_the_recipe_s_after_the_rules(component: str, weights: dict[str, mx.array]) -> None:
    official: dict[str, Any] = recipe_state_dict(official_name(component), PREFIXES.get(component, ""))
    if component == "flow":
        official[NOISE] = torch.randn([1, 80, 15000], generator=torch.Generator().manual_seed(0)).numpy()
    expected = {
        f"{component}.{made.name}": made.array
        for made in from_official(COSYVOICE2[component].build(CONFIG), official.__getitem__, "recipe")
    }
    assert {key for key in weights if key.startswith(f"{component}.")} == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(np.array(weights[key]), value, err_msg=key)


def test_values_follow_the_type_of_the_owner(weights: dict[str, mx.array]) -> None:
    """By hand for one tensor of each kind, without the rules."""

    def official(key: str, name: str, prefix: str = "") -> np.ndarray:
        return recipe.parameter(prefix + key, official_shapes(name)[key])

    key = "encoder.pre_lookahead_layer.conv1.weight"  # convolution: kernel before inputs
    np.testing.assert_array_equal(np.array(weights[f"flow.{key}"]), official(key, "flow.tiny").transpose(0, 2, 1))
    key = "encoder_proj.weight"  # linear: as it is
    np.testing.assert_array_equal(np.array(weights[f"flow.{key}"]), official(key, "flow.tiny"))
    gain = official("ups.0.parametrizations.weight.original0", "hift.tiny")  # transposed, weight norm folded
    direction = official("ups.0.parametrizations.weight.original1", "hift.tiny")
    norm = np.sqrt((direction.astype(np.float64) ** 2).sum((1, 2), keepdims=True))
    np.testing.assert_allclose(
        np.array(weights["hift.ups.0.weight"]), (gain * direction / norm).transpose(1, 2, 0), atol=1e-6
    )


def test_the_speaker_encoder_s_statistics_survive_the_fold(weights: dict[str, mx.array]) -> None:
    """campplus.onnx holds convolution and BatchNorm as one; what both do to an input is the same."""
    name = "xvector.block1.tdnnd1"
    official = recipe_state_dict("campplus", "campplus.")
    x = recipe.unit("input/bottleneck", (5, 128))
    y = x @ official[f"{name}.linear1.weight"][:, :, 0].T
    norm = {
        part: official[f"{name}.nonlinear2.batchnorm.{part}"]
        for part in ("weight", "bias", "running_mean", "running_var")
    }
    expected = (y - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm["bias"]
    scale, shift = (np.array(weights[f"campplus.{name}.nonlinear2.batchnorm.{part}"]) for part in ("weight", "bias"))
    mine = (x @ np.array(weights[f"campplus.{name}.linear1.weight"])[:, 0].T) * scale + shift
    np.testing.assert_allclose(mine, expected, atol=1e-5)


def test_the_official_noise_is_part_of_the_model(weights: dict[str, mx.array]) -> None:
    noise = np.array(weights[f"flow.{NOISE}"])
    assert noise.shape == (1, 15000, 80)
    np.testing.assert_array_equal(noise[:, :64].transpose(0, 2, 1), golden("flow.tiny")["rand_noise_head"])


@pytest.mark.parametrize("component", COSYVOICE2.names)
def test_every_official_key_is_accounted_for(component: str, tiny_model: Path, weights: dict[str, mx.array]) -> None:
    keys = json.loads((tiny_model / "conversion.json").read_text())["keys"][component]
    assert {*keys["used"], *keys["unused"]} == set(official_shapes(official_name(component)))
    assert not set(keys["used"]) & set(keys["unused"])
    made = {f"{component}.{name}" for names in (*keys["used"].values(), keys["added"]) for name in names}
    assert all(keys["used"].values())
    assert made == {key for key in weights if key.startswith(f"{component}.")}
    assert all(reason for reason in keys["unused"].values())


def test_conversion_json_names_every_source_file(tiny_model: Path, tiny_checkpoint: Path) -> None:
    record = json.loads((tiny_model / "conversion.json").read_text())
    files = {name: content for name, content in snapshot(tiny_checkpoint).items() if content is not None}
    del files["synthetic.json"]
    assert record["files"] == {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} for name, content in files.items()
    }
    assert {"mlx_cosyvoice", "mlx", "torch", "onnx", "python"} <= set(record["versions"])
    assert record["speakers"] == ["second", "synthetic"]


def test_text_comes_along(tiny_model: Path) -> None:
    tokenizer = TextTokenizer.from_file(tiny_model / "tokenizer.json")
    assert tokenizer.decode(tokenizer.encode("hello [breath] world")) != ""


def test_sft_speakers_come_along(tiny_model: Path) -> None:
    speakers = read_spk2info_safetensors(tiny_model / "spk2info.safetensors")
    assert list(speakers) == ["synthetic", "second"]
    for name, voice in speakers.items():
        np.testing.assert_array_equal(voice.embedding, recipe.unit(f"spk2info/{name}", (1, 192)))
        assert voice.prompt_token.shape == (1, 0)
        assert voice.prompt_feat.shape == (1, 0, 80)


def test_a_saved_zero_shot_speaker_comes_along(tiny_checkpoint: Path, tmp_path: Path) -> None:
    entry = zero_shot_entry()
    checkpoint = damaged_copy(
        tiny_checkpoint, tmp_path / "checkpoint", "spk2info.pt", lambda path: torch.save({"me": entry}, path)
    )
    voice = read_spk2info_safetensors(convert(checkpoint, tmp_path / "out").out / "spk2info.safetensors")["me"]
    np.testing.assert_array_equal(voice.prompt_token, entry["flow_prompt_speech_token"].numpy())
    np.testing.assert_array_equal(voice.prompt_feat, entry["prompt_speech_feat"].numpy())
    assert voice.prompt_text == tuple(entry["prompt_text"][0].tolist())


def test_the_model_card(tiny_model: Path) -> None:
    card = (tiny_model / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: mlx\n")
    assert "random weights" in card.lower()
    assert "base_model" not in card  # there is none for random weights


def test_a_real_checkpoint_is_credited(tiny_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    (checkpoint / "synthetic.json").unlink()
    out = convert(checkpoint, tmp_path / "out", components=["campplus"], source="somebody/finetune").out
    card = (out / "README.md").read_text()
    assert "base_model: FunAudioLLM/CosyVoice2-0.5B\n" in card
    assert "# somebody/finetune, MLX" in card
    assert "model = load(" in card
    assert str(tmp_path) not in card + (out / "conversion.json").read_text()


def test_the_same_input_gives_the_same_bytes(tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path) -> None:
    assert snapshot(convert(tiny_checkpoint, tmp_path / "again").out) == snapshot(tiny_model)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_rounds_to_nearest(
    dtype: str, tiny_checkpoint: Path, weights: dict[str, mx.array], tmp_path: Path
) -> None:
    report = convert(tiny_checkpoint, tmp_path / "out", dtype=dtype)
    assert report.dtypes == {name: "float32" if name in KEEP_FLOAT32 else dtype for name in COSYVOICE2.names}
    rounded = load_weights(tmp_path / "out")
    assert set(rounded) == set(weights)
    for key, value in rounded.items():
        whole = key.split(".")[0] in KEEP_FLOAT32 or key == f"flow.{NOISE}"
        assert value.dtype == (mx.float32 if whole else getattr(mx, dtype)), key
        expected = torch.from_numpy(np.array(weights[key]))
        if not whole:
            expected = expected.to(getattr(torch, dtype)).float()
        np.testing.assert_array_equal(np.array(value.astype(mx.float32)), expected.numpy(), err_msg=key)
    config, meta = read_config(tmp_path / "out")
    assert meta["dtypes"] == report.dtypes
    model = load_component(COSYVOICE2["flow"].build(config), tmp_path / "out", "flow")
    assert model.encoder_proj.weight.dtype == getattr(mx, dtype)


def test_what_stays_float32_can_be_chosen(tiny_checkpoint: Path, tmp_path: Path) -> None:
    report = convert(
        tiny_checkpoint, tmp_path / "out", components=["hift", "llm"], dtype="bfloat16", keep_float32=["llm"]
    )
    assert report.dtypes == {"llm": "float32", "hift": "bfloat16"}
    assert load_weights(tmp_path / "out")["hift.conv_pre.weight"].dtype == mx.bfloat16


def test_some_components_only(tiny_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    for name in ("llm.pt", "flow.pt", "spk2info.pt", "speech_tokenizer_v2.onnx"):
        (checkpoint / name).unlink()
    shutil.rmtree(checkpoint / "CosyVoice-BlankEN")
    report = convert(checkpoint, tmp_path / "out", components=["campplus", "hift"])
    assert list(report.dtypes) == ["hift", "campplus"]
    config, meta = read_config(tmp_path / "out")
    assert meta["components"] == ["hift", "campplus"]
    assert config.hift == CONFIG.hift
    content = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "llm" not in content
    assert {key.split(".")[0] for key in load_weights(tmp_path / "out")} == {"hift", "campplus"}
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"README.md", "config.json", "conversion.json", "model.safetensors"}


def test_large_models_are_cut_into_shards(tiny_checkpoint: Path, weights: dict[str, mx.array], tmp_path: Path) -> None:
    out = convert(tiny_checkpoint, tmp_path / "out", max_shard_bytes=20_000_000).out
    names = sorted(path.name for path in out.glob("*.safetensors") if path.name.startswith("model"))
    assert len(names) > 2
    assert names == [f"model-{i:05d}-of-{len(names):05d}.safetensors" for i in range(1, len(names) + 1)]
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in weights.values())
    for name in names:
        keys = set(load_file(out / name))
        assert keys == {key for key, file in index["weight_map"].items() if file == name}
        assert (out / name).stat().st_size < 20_500_000
    loaded = load_weights(out)
    assert set(loaded) == set(weights)
    for key, value in weights.items():
        assert mx.array_equal(loaded[key], value), key
    load_component(COSYVOICE2["flow"].build(CONFIG), out, "flow")


def test_counters_of_the_official_trainer_are_skipped(tiny_checkpoint: Path, tmp_path: Path) -> None:
    add = change_state(lambda state: state.update(epoch=3, step=1000))
    checkpoint = damaged_copy(tiny_checkpoint, tmp_path / "checkpoint", "llm.pt", add)
    convert(checkpoint, tmp_path / "out", components=["llm"])


def test_the_command_line(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "deep" / "out"
    arguments = [str(tiny_checkpoint), "--out", str(out), "--components", "flow,campplus", "--dtype", "float16"]
    assert cli.main([*arguments, "--keep-float32", ""]) == 0
    shown = capsys.readouterr()
    assert str(out) in shown.out
    assert "campplus" in shown.out
    assert "error" not in shown.err
    assert read_config(out)[1]["dtypes"] == {"flow": "float16", "campplus": "float16"}
    assert cli.main([*arguments, "--force"]) == 0
    assert read_config(out)[1]["dtypes"] == {"flow": "float16", "campplus": "float32"}
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_synthetic_checkpoint_is_made_on_request(
    tmp_path: Path, weights: dict[str, mx.array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert cli.main(["synthetic", "--out", str(tmp_path / "out"), "--components", "hift,llm"]) == 0
    for key, value in load_weights(tmp_path / "out").items():
        assert mx.array_equal(value, weights[key]), key
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("component", ["llm", "flow", "hift", "campplus", "speech_tokenizer"])
def test_what_was_read_of_a_mapped_file_is_let_go(
    component: str, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is closed and opened again after every so many bytes; tensors that are not from it stay."""
    source = checkpoint.open_source(checkpoint.require_files(tiny_checkpoint), component)
    source.tensors["added"] = added = torch.ones(3)
    arrays = {key: np.asarray(tensor).copy() for key, tensor in source.tensors.items()}
    expected = {key: values for key, values in arrays.items() if np.issubdtype(values.dtype, np.floating)}
    most = sum(values.nbytes for values in expected.values()) // 6
    monkeypatch.setattr(checkpoint, "MAX_RESIDENT_BYTES", most)
    opened, read = weakref.ref(next(iter(source.tensors.values()))), [0]
    for key, values in expected.items():
        assert np.array_equal(source.fetch(key), values)
        if opened() is None:
            read.append(0)
            opened = weakref.ref(source.tensors[next(iter(expected))])
        read[-1] += values.nbytes
    assert len(read) > 1
    assert min(read[:-1]) > most
    assert max(read) <= most + max(values.nbytes for values in expected.values())
    assert source.tensors["added"] is added


@pytest.mark.parametrize("component", ["hift", "speech_tokenizer"])
def test_what_was_read_can_be_let_go_before(component: str, tiny_checkpoint: Path) -> None:
    source = checkpoint.open_source(checkpoint.require_files(tiny_checkpoint), component)
    opened = weakref.ref(next(iter(source.tensors.values())))
    source.release()
    assert opened() is None
