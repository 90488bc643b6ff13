"""CosyVoice3's checkpoints: every key accounted for, every value where it belongs, and what people have of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch

from converters import __main__ as cli
from converters.convert import convert
from converters.families import official_of
from mlx_cosyvoice.config import CosyVoice3Config, from_dict
from mlx_cosyvoice.families import COSYVOICE2, COSYVOICE3
from mlx_cosyvoice.nn.official import from_official
from mlx_cosyvoice.text import TextTokenizer
from mlx_cosyvoice.weights import load_component, load_weights, read_config
from reference import families
from reference.official_config import official_config
from reference.synthetic.sizes import SIZES3
from tests.support.checkpoints import change_state, damaged_copy, replace_text
from tests.support.golden import golden, golden_name, official_shapes, recipe_state_dict
from tests.support.official_config import read_model_config

CONFIG = from_dict(CosyVoice3Config, SIZES3["tiny"])
NOISE = "decoder.rand_noise"
#: Tensors that are float32 whatever is asked for.
EXACT = {
    "flow": ("decoder.rand_noise", "decoder.estimator.rotary_embed.inv_freq"),
    "hift": ("f0_predictor.",),
}


@pytest.fixture(scope="module")
def weights(tiny_model3: Path) -> dict[str, mx.array]:
    return load_weights(tiny_model3)


def test_config_json_holds_the_sizes_and_loads(tiny_model3: Path, tiny_checkpoint3: Path) -> None:
    config, meta = read_config(tiny_model3)
    assert config == CONFIG == read_model_config(tiny_checkpoint3)
    assert meta["family"] is COSYVOICE3
    assert meta["components"] == list(COSYVOICE3.names)
    assert meta["dtypes"] == dict.fromkeys(COSYVOICE3.names, "float32")


def test_the_defaults_are_the_published_sizes() -> None:
    assert from_dict(CosyVoice3Config, SIZES3["full"]) == CosyVoice3Config()


def test_the_reference_reads_the_same_sizes(tiny_checkpoint3: Path) -> None:
    networks = families.COSYVOICE3.networks.values()
    names = ["cosyvoice3.yaml", "CosyVoice-BlankEN/config.json", *(network.file for network in networks)]
    said = official_config(families.COSYVOICE3, {name: tiny_checkpoint3 / name for name in names})
    assert said.pop("mel") == dataclasses.asdict(COSYVOICE3.mel)
    assert json.loads(json.dumps(CONFIG.to_dict())) == said


@pytest.mark.parametrize("component", ["llm", "flow", "hift", "speech_tokenizer"])
def test_the_reference_reads_the_recipe(component: str, tiny_checkpoint3: Path) -> None:
    """With readers of its own, which find the layer norms of the ONNX file by their order."""
    network = families.COSYVOICE3.networks[component]
    tensors = network.tensors(tiny_checkpoint3 / network.file, SIZES3["tiny"][component])
    prefix = "speech_tokenizer." if component == "speech_tokenizer" else ""
    expected = recipe_state_dict(golden_name(component, "tiny", "cosyvoice3"), prefix)
    assert set(tensors) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(tensors[key].numpy(), value, err_msg=key)


@pytest.mark.parametrize("component", COSYVOICE3.names)
def test_every_official_key_is_accounted_for(component: str, tiny_model3: Path, weights: dict[str, mx.array]) -> None:
    keys = json.loads((tiny_model3 / "conversion.json").read_text())["keys"][component]
    assert {*keys["used"], *keys["unused"]} == set(official_shapes(golden_name(component, "tiny", "cosyvoice3")))
    assert not set(keys["used"]) & set(keys["unused"])
    made = {f"{component}.{name}" for names in (*keys["used"].values(), keys["added"]) for name in names}
    assert made == {key for key in weights if key.startswith(f"{component}.")}


def expected_weights(component: str) -> dict[str, np.ndarray]:
    prefix = "speech_tokenizer." if component == "speech_tokenizer" else ""
    official: dict[str, Any] = recipe_state_dict(golden_name(component, "tiny", "cosyvoice3"), prefix)
    if component == "flow":
        official[NOISE] = torch.randn([1, 80, 15000], generator=torch.Generator().manual_seed(0)).numpy()
    made = from_official(COSYVOICE3[component].build(CONFIG), official.__getitem__, "recipe")
    return {f"{component}.{one.name}": one.array for one in made}


@pytest.mark.parametrize("component", ["llm", "flow", "hift", "speech_tokenizer"])
def test_every_value_is_the_recipe_s_after_the_rules(component: str, weights: dict[str, mx.array]) -> None:
    for key, value in expected_weights(component).items():
        np.testing.assert_array_equal(np.array(weights[key]), value, err_msg=key)


def test_the_f0_predictor_keeps_its_weight_norm(weights: dict[str, mx.array]) -> None:
    """It is folded in float64 when it is used, so gain and direction are stored as they were published."""
    official = recipe_state_dict("hift3.tiny")
    name = "f0_predictor.condnet.2"
    gain, direction = (official[f"{name}.parametrizations.weight.original{index}"] for index in (0, 1))
    np.testing.assert_array_equal(np.array(weights[f"hift.{name}.gain"]), gain.ravel())
    np.testing.assert_array_equal(np.array(weights[f"hift.{name}.weight"]), direction.transpose(0, 2, 1))


def test_the_official_noise_is_part_of_the_model(weights: dict[str, mx.array]) -> None:
    noise = np.array(weights[f"flow.{NOISE}"])
    np.testing.assert_array_equal(noise[:, :64].transpose(0, 2, 1), golden("flow3.tiny")["rand_noise_head"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_keeps_what_errors_add_up_in(dtype: str, tiny_checkpoint3: Path, tmp_path: Path) -> None:
    out = convert(tiny_checkpoint3, tmp_path / "out", components=["flow", "hift"], dtype=dtype, keep_float32=[]).out
    for key, value in load_weights(out).items():
        component, _, path = key.partition(".")
        assert value.dtype == (mx.float32 if path.startswith(EXACT[component]) else getattr(mx, dtype)), key
    hift = load_component(COSYVOICE3["hift"].build(CONFIG), out, "hift", dtype="bfloat16")
    assert hift.f0_predictor.condnet[0].weight.dtype == hift.f0_predictor.condnet[0].gain.dtype == mx.float32
    assert hift.conv_pre.weight.dtype == mx.bfloat16


def test_the_text_is_its_own(tiny_model3: Path) -> None:
    tokenizer = TextTokenizer.from_file(tiny_model3 / "tokenizer.json")
    assert tokenizer.encode("<|endofprompt|><|endofsystem|>[AA]") == [151646, 151663, 151664]


def is_as_converted(out: Path, component: str, weights: dict[str, mx.array]) -> None:
    for key, value in load_weights(out).items():
        assert mx.array_equal(value, weights[key]), key
    assert [key for key in weights if key.startswith(f"{component}.")]


def test_the_vocoder_with_the_trainer_s_prefix(
    tiny_checkpoint3: Path, weights: dict[str, mx.array], tmp_path: Path
) -> None:
    def rename(state: dict[str, Any]) -> None:
        for key in list(state):
            state[f"generator.{key}"] = state.pop(key)

    copy = damaged_copy(tiny_checkpoint3, tmp_path / "copy", "hift.pt", change_state(rename))
    report = convert(copy, tmp_path / "out", components=["hift"])
    is_as_converted(report.out, "hift", weights)
    assert report.record["stripped"] == {"hift": {"prefix": "generator."}}
    network = families.COSYVOICE3.networks["hift"]
    tensors = network.tensors(copy / "hift.pt", SIZES3["tiny"]["hift"])
    assert set(tensors) == set(official_shapes("hift3.tiny"))


def test_the_vocoder_as_an_older_weight_norm_wrote_it(
    tiny_checkpoint3: Path, weights: dict[str, mx.array], tmp_path: Path
) -> None:
    def rename(state: dict[str, Any]) -> None:
        for index, letter in enumerate("gv"):
            for key in [key for key in state if key.endswith(f"parametrizations.weight.original{index}")]:
                state[key.replace(f"parametrizations.weight.original{index}", f"weight_{letter}")] = state.pop(key)

    copy = damaged_copy(tiny_checkpoint3, tmp_path / "copy", "hift.pt", change_state(rename))
    is_as_converted(convert(copy, tmp_path / "out", components=["hift"]).out, "hift", weights)


def test_another_language_model_is_chosen(tiny_checkpoint3: Path, tmp_path: Path) -> None:
    def change(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        state["llm_decoder.weight"] = 2 * state["llm_decoder.weight"]
        torch.save(state, path.with_name("llm.rl.pt"))

    copy = damaged_copy(tiny_checkpoint3, tmp_path / "copy", "llm.pt", change)
    assert cli.main([str(copy), "--out", str(tmp_path / "out"), "--llm", "llm.rl.pt", "--components", "llm"]) == 0
    official = recipe_state_dict("llm3.tiny")["llm_decoder.weight"]
    np.testing.assert_array_equal(np.array(load_weights(tmp_path / "out")["llm.llm_decoder.weight"]), 2 * official)
    assert "llm.rl.pt" in json.loads((tmp_path / "out" / "conversion.json").read_text())["files"]


@pytest.mark.parametrize("name", ["cosyvoice2.yaml", "cosyvoice.yaml"])
def test_the_classes_tell_the_family(name: str, tiny_checkpoint3: Path, tmp_path: Path) -> None:
    copy = damaged_copy(
        tiny_checkpoint3, tmp_path / "copy", "cosyvoice3.yaml", lambda path: path.rename(path.with_name(name))
    )
    report = convert(copy, tmp_path / "out", components=["hift"])
    assert read_config(report.out)[0].hift == CONFIG.hift
    assert name in report.record["files"]


def test_the_name_tells_the_family_where_no_class_does(tmp_path: Path) -> None:
    assert official_of(tmp_path).family is COSYVOICE2
    (tmp_path / "cosyvoice3.yaml").write_text("")
    assert official_of(tmp_path).family is COSYVOICE3


REFUSED = [
    ("cosyvoice.llm.llm.CosyVoice3LM", "cosyvoice.llm.llm.Qwen2LM", "only cosyvoice.llm.llm.CosyVoice3LM"),
    ("    version: cosyvoice3\n", "", "get_tokenizer.version: missing"),
    ("    conv_pre_look_right: 4\n", "", "hift.conv_pre_look_right: missing"),
    ("            depth: 2\n", "            depth: 2\n            long_skip_connection: True\n", "only False"),
    ("            depth: 2\n", "            depth: 3\n", "makes 3 layers decoder.estimator.transformer_blocks.N"),
    ("            heads: 2\n", "            heads: 4\n", "to_q.weight [64, 64] instead of [128, 64]"),
    ("            mel_dim: 80\n", "            mel_dim: 40\n", "flow.decoder.estimator.mel_dim: must agree"),
    ("        channels: 128\n        pre_lookahead_len: 3\n", "        channels: 128\n        pre_lookahead_len: 2\n",
     "flow.pre_lookahead_layer.pre_lookahead_len: must agree, not be 3 and 2"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), REFUSED, ids=[message for _, _, message in REFUSED])
def test_what_the_network_does_not_support_is_refused(
    old: str, new: str, message: str, tiny_checkpoint3: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    copy = damaged_copy(tiny_checkpoint3, tmp_path / "copy", "cosyvoice3.yaml", replace_text(old, new))
    assert cli.main([str(copy), "--out", str(tmp_path / "out"), "--components", "flow,hift"]) == 1
    assert message in capsys.readouterr().err


def test_a_missing_file_is_named(tiny_checkpoint3: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    copy = damaged_copy(tiny_checkpoint3, tmp_path / "copy", "speech_tokenizer_v3.onnx", Path.unlink)
    assert cli.main([str(copy), "--out", str(tmp_path / "out")]) == 1
    assert "lacks speech_tokenizer_v3.onnx" in capsys.readouterr().err


def test_the_command_makes_one_up(tmp_path: Path, weights: dict[str, mx.array]) -> None:
    assert cli.main(["synthetic:cosyvoice3", "--out", str(tmp_path / "out"), "--components", "flow"]) == 0
    is_as_converted(tmp_path / "out", "flow", weights)
