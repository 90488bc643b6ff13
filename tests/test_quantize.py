"""Packed and mixed-precision models: what is written, how small it is, and that it loads and computes as it should."""

from __future__ import annotations

import dataclasses
import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from converters import __main__ as cli
from converters.convert import convert
from converters.storage import Storage
from converters.write import MAX_SHARD_BYTES
from mlx_cosyvoice.config import CosyVoice2Config
from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.mixed import outer_dtype
from mlx_cosyvoice.quantize import Quantization, is_candidate, quantized_modules
from mlx_cosyvoice.weights import ModelFolderError, load_component, load_weights, read_config
from mlx_parity.intercept import ModuleCall, intercepted

BACKBONE = "llm.llm.model.model"
KEPT = (f"{BACKBONE}.layers.0", f"{BACKBONE}.norm")
KEPT_IN_FLOW = ("flow.encoder.embed", "flow.encoder.after_norm", "flow.decoder.estimator.final_proj")


@pytest.fixture(scope="module")
def packed(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The language model in 4 bits by groups of 64, into which one of its widths, 160, does not divide."""
    return convert(tiny_checkpoint, tmp_path_factory.mktemp("packed") / "out", components=["llm"], quantize=4).out


@pytest.fixture(scope="module")
def mixed(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Language model and flow in bfloat16, with exceptions; among them the layers that tell the dtype around them."""
    out = tmp_path_factory.mktemp("mixed") / "out"
    return convert(
        tiny_checkpoint, out, components=["llm", "flow"], dtype="bfloat16", keep_float32_layers=[*KEPT, *KEPT_IN_FLOW]
    ).out


def load(folder: Path, name: str = "llm", **options: Any) -> Any:
    config, _ = read_config(folder)
    return load_component(COSYVOICE2[name].build(config), folder, name, **options)


def log_probs(model: Any) -> np.ndarray:
    cache = model.make_cache()
    rows = [model.step(model.prompt([5, 6, 7], [1, 2], [11, 12, 13]), cache)]
    rows += [model.step(model.embed_speech([token]), cache) for token in (3, 100, 4000)]
    return np.array(mx.concatenate(rows))


def content(folder: Path, name: str = "config.json") -> dict[str, Any]:
    return json.loads((folder / name).read_text())


def relative(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


class TestFormat:
    def test_config_json_is_as_mlx_lm_writes_it(self, packed: Path) -> None:
        settings = content(packed)["quantization"]
        down = {f"{BACKBONE}.layers.{layer}.mlp.down_proj": False for layer in range(2)}
        assert settings == {"group_size": 64, "bits": 4, "mode": "affine", **down}
        assert content(packed)["quantization_config"] == settings

    def test_layers_are_packed_as_mlx_packs_them(self, packed: Path, tiny_model: Path) -> None:
        """`mlx.nn.quantize` on the weights in the dtype of the scales."""
        model = load(tiny_model)
        model.set_dtype(mx.float16)
        nn.quantize(model, 64, 4, class_predicate=lambda path, m: is_candidate(m) and m.weight.shape[-1] % 64 == 0)
        stored = load_weights(packed)
        packed_modules = quantized_modules(model)
        assert len(packed_modules) == 16
        for path, module in packed_modules.items():
            for name in ("weight", "scales", "biases"):
                assert mx.array_equal(stored[f"llm.{path}.{name}"], module[name]), path
                assert stored[f"llm.{path}.{name}"].dtype == module[name].dtype

    def test_what_is_not_packed_is_as_before(self, packed: Path, tiny_model: Path) -> None:
        whole = load_weights(tiny_model)
        stored = load_weights(packed)
        owners = {key.rpartition(".")[0] for key in stored if key.endswith(".scales")}
        for key, value in stored.items():
            if key.rpartition(".")[0] not in owners or key.endswith(".bias"):
                assert mx.array_equal(value, whole[key]), key

    def test_conversion_json_and_the_card_tell(self, packed: Path) -> None:
        record = content(packed, "conversion.json")["quantization"]
        assert (record["bits"], record["group_size"]) == (4, 64)
        layers = record["components"]["llm"]
        assert len(layers["quantized"]) == 16
        assert f"{BACKBONE}.embed_tokens" in layers["quantized"]
        assert list(layers["in_full"]) == [f"{BACKBONE}.layers.{n}.mlp.down_proj" for n in range(2)]
        assert all("width 160" in why for why in layers["in_full"].values())
        card = (packed / "README.md").read_text()
        assert "4 bits in groups of 64 (16 of 18 Linear and Embedding layers)" in card
        assert f"`{BACKBONE}.layers.0.mlp.down_proj`: its width 160" in card

    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    def test_the_rest_has_the_dtype(self, dtype: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
        out = convert(tiny_checkpoint, tmp_path / "out", components=["llm"], dtype=dtype, quantize=8, group_size=32).out
        stored, model = load_weights(out), load(out)
        assert stored[f"{BACKBONE}.norm.weight"].dtype == getattr(mx, dtype)
        assert len(quantized_modules(model)) == 18
        for module in quantized_modules(model).values():
            assert module["scales"].dtype == module["biases"].dtype == getattr(mx, dtype)
        assert model.embed_text([1, 2]).dtype == getattr(mx, dtype)
        for nothing in (model.embed_text([]), model.embed_speech([])):
            assert nothing.shape == (1, 0, model.config.llm_input_size)
            assert nothing.dtype == getattr(mx, dtype)
        assert log_probs(model).dtype == np.float32

    def test_the_flow_can_be_packed_too(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        components = ["llm", "flow"]
        out = convert(
            tiny_checkpoint, tmp_path / "out", components=components, quantize=8, quantize_components=components
        ).out
        assert len(quantized_modules(load(out, "flow"))) == 70
        assert len(quantized_modules(load(out, "llm"))) == 16


class TestSize:
    def test_the_tiny_model(self, packed: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
        """Of the layers that are packed; its biases and what does not divide weigh more than in the full one."""
        whole = load_weights(convert(tiny_checkpoint, tmp_path / "out", components=["llm"], dtype="bfloat16").out)
        layers = [key.removesuffix(".scales") for key in load_weights(packed) if key.endswith(".scales")]
        stored = load_weights(packed)
        small = sum(stored[f"{layer}.{part}"].nbytes for layer in layers for part in ("weight", "scales", "biases"))
        assert small < 0.3 * sum(whole[f"{layer}.weight"].nbytes for layer in layers)

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_the_full_size(self, dtype: str) -> None:
        """In 4 bits by groups of 64 the language model takes less than 30 % of its size in bfloat16."""
        network = COSYVOICE2["llm"].build(CosyVoice2Config())
        whole = sum(entry.nbytes for entry in Storage(COSYVOICE2["llm"], network, "bfloat16").entries())
        small = sum(
            entry.nbytes for entry in Storage(COSYVOICE2["llm"], network, dtype, [], Quantization(4, 64)).entries()
        )
        assert whole > 1_000_000_000
        assert small < 0.3 * whole


class TestLoading:
    @pytest.mark.parametrize(("bits", "bound"), [(8, 0.02), (4, 0.3)])
    def test_it_computes_nearly_what_the_whole_one_does(
        self, bits: int, bound: float, tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path
    ) -> None:
        out = convert(tiny_checkpoint, tmp_path / "out", components=["llm"], quantize=bits, group_size=32).out
        error = relative(log_probs(load(out)), log_probs(load(tiny_model)))
        assert 0 < error < bound

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_it_can_be_unpacked(self, dtype: str, packed: Path) -> None:
        model = load(packed, dtype=dtype)
        assert not quantized_modules(model)
        assert all(value.dtype == getattr(mx, dtype) for value in dict(tree_flatten(model.parameters())).values())
        error = relative(log_probs(model), log_probs(load(packed)))
        assert error < (1e-5 if dtype == "float32" else 0.02)

    def test_an_unknown_dtype(self, packed: Path) -> None:
        with pytest.raises(ValueError, match="dtype must be one of float32"):
            load(packed, dtype="int8")

    @pytest.mark.parametrize(
        ("quantization", "words"),
        [
            (None, "does not tell how"),
            ({"group_size": 32, "bits": 4}, "llm.*instead of"),
            ({"group_size": 64, "bits": 3}, "bits must be one of 4, 8, not 3"),
            ({"group_size": 64, "bits": 4, "mode": "mxfp4"}, "mode must be 'affine'"),
            ({"group_size": 64, "bits": 4, "llm.llm_decoder": False}, "does not tell how.*llm.llm_decoder"),
            ([], "must be an object"),
        ],
    )
    def test_a_config_that_does_not_fit(self, quantization: object, words: str, packed: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(packed, tmp_path / "model")
        changed = content(folder) | {"quantization": quantization}
        (folder / "config.json").write_text(json.dumps(changed))
        with pytest.raises(ModelFolderError, match=words):
            load(folder)

    @pytest.mark.parametrize("part", ["weight", "scales", "biases"])
    def test_a_part_that_is_missing(self, part: str, packed: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(packed, tmp_path / "model")
        stored = load_weights(packed)
        del stored[f"llm.llm_decoder.{part}"]
        mx.save_safetensors(str(folder / "model.safetensors"), stored)
        for dtype in (None, "float32"):
            with pytest.raises(ModelFolderError, match=r"llm\.llm_decoder\."):
                load(folder, dtype=dtype)

    def test_a_layer_with_parameters_of_its_own(self, packed: Path, tiny_model: Path, tmp_path: Path) -> None:
        """As mlx-lm writes mixed quantizations."""
        folder, settings = shutil.copytree(packed, tmp_path / "model"), content(packed)
        settings["quantization"]["llm.llm_decoder"] = {"group_size": 32, "bits": 8}
        (folder / "config.json").write_text(json.dumps(settings))
        parts = Quantization(8, 32).pack(load_weights(tiny_model)["llm.llm_decoder.weight"])
        names = [f"llm.llm_decoder.{part}" for part in ("weight", "scales", "biases")]
        mx.save_safetensors(
            str(folder / "model.safetensors"), load_weights(packed) | dict(zip(names, parts, strict=True))
        )
        layer = load(folder).llm_decoder
        assert (layer.bits, layer.group_size) == (8, 32)


class TestKeptLayers:
    def test_their_weights_are_float32(self, mixed: Path, tiny_model: Path) -> None:
        whole, kept = load_weights(tiny_model), content(mixed)["layer_dtypes"]
        assert len(kept) == 5
        assert set(kept.values()) == {"float32"}
        for key, value in load_weights(mixed).items():
            inside = any(key.startswith(f"{path}.") for path in kept) or key == "flow.decoder.rand_noise"
            assert value.dtype == (mx.float32 if inside else mx.bfloat16), key
            if inside:
                assert mx.array_equal(value, whole[key])
        assert f"`{KEPT[0]}`: float32" in (mixed / "README.md").read_text()

    def test_what_comes_after_is_not_promoted(self, mixed: Path) -> None:
        """Each module outside the kept ones gets and gives bfloat16."""
        model = load(mixed)
        seen: dict[str, mx.Dtype] = {}
        with watched(model, seen):
            log_probs(model)
        assert seen["llm.model.model.layers.0.mlp.down_proj"] == mx.float32
        outside = {path: dtype for path, dtype in seen.items() if ".layers.0." not in path and "rotary" not in path}
        assert len(outside) > 15
        assert set(outside.values()) == {mx.bfloat16}, outside

    def test_the_flow_too(self, mixed: Path) -> None:
        flow = load(mixed, "flow")
        assert flow.decoder.estimator.dtype == mx.bfloat16
        assert outer_dtype(flow.encoder.after_norm) == mx.bfloat16
        seen: dict[str, mx.Dtype] = {}
        draw = np.random.default_rng(0)
        tokens = [draw.integers(0, 6561, (1, n)) for n in (10, 4)]
        arrays = [*tokens, draw.standard_normal((1, 8, 80)), draw.standard_normal((1, 192))]
        with watched(flow, seen):
            mel = flow(*map(mx.array, arrays), streaming=False, finalize=True, n_timesteps=1)
        assert mel.dtype == mx.float32
        float32 = {path for path, dtype in seen.items() if dtype == mx.float32}
        kept = {"encoder.embed.out", "encoder.embed.out.0", "encoder.embed.out.1", "encoder.embed.out.2"}
        assert float32 - {"encoder.embed.pos_enc", "decoder", "decoder.estimator.time_embeddings"} == kept

    def test_they_gain_precision(self, mixed: Path, tiny_model: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
        exact = log_probs(load(tiny_model))
        low = convert(tiny_checkpoint, tmp_path / "low", components=["llm"], dtype="bfloat16").out
        assert relative(log_probs(load(mixed)), exact) < relative(log_probs(load(low)), exact)

    def test_packed_models_can_have_them(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        out = convert(
            tiny_checkpoint,
            tmp_path / "out",
            components=["llm"],
            quantize=4,
            group_size=32,
            keep_float32_layers=["llm.llm_decoder", f"{BACKBONE}.layers.1.mlp"],
        ).out
        packed = quantized_modules(load(out))
        assert len(packed) == 14
        assert "llm_decoder" not in packed
        assert "layer_dtypes" not in content(out)  # the component is float32 anyway
        assert content(out)["quantization"]["llm.llm_decoder"] is False


def watched(model: nn.Module, seen: dict[str, mx.Dtype]) -> AbstractContextManager[None]:
    """Notes the dtype of what each module returns."""

    def noted(call: ModuleCall) -> Any:
        output = call.run()
        seen[call.path] = (output[0] if isinstance(output, tuple) else output).dtype
        return output

    return intercepted({path: module for path, module in model.named_modules() if path}, noted)


class TestArguments:
    @pytest.fixture
    def fails(self, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> Any:
        def run(*arguments: str) -> str:
            assert cli.main([str(tiny_checkpoint), "--out", str(tmp_path / "out"), *arguments]) == 1
            assert not (tmp_path / "out").exists()
            (line,) = capsys.readouterr().err.splitlines()
            return line

        return run

    @pytest.mark.parametrize("component", ["hift", "campplus", "speech_tokenizer"])
    def test_components_that_cannot_be_packed(self, component: str, fails: Any) -> None:
        line = fails("--quantize", "4", "--quantize-components", f"llm,{component}")
        assert f"{component} cannot be quantized: " in line

    def test_components_that_are_not_converted(self, fails: Any) -> None:
        assert "llm is not among" in fails("--quantize", "4", "--components", "flow")

    def test_a_layer_that_is_not_there(self, fails: Any) -> None:
        line = fails("--dtype", "bfloat16", "--keep-float32-layers", "flow.encoder.embd")
        assert "there is no layer 'flow.encoder.embd'; there is flow.encoder.embed," in line
        line = fails("--dtype", "bfloat16", "--keep-float32-layers", "flow.encoder.embed", "--components", "llm")
        assert "flow is not among the components" in line
        assert "--keep-float32 flow" in fails("--dtype", "bfloat16", "--keep-float32-layers", "flow")

    def test_layers_that_are_float32_anyway(self, fails: Any) -> None:
        assert "give --dtype or --quantize" in fails("--keep-float32-layers", "flow.encoder.embed")

    def test_a_group_size_without_a_use(self, fails: Any) -> None:
        assert "--group-size needs --quantize" in fails("--group-size", "32")

    @pytest.mark.parametrize("arguments", [["--quantize", "3"], ["--quantize", "4", "--group-size", "48"]])
    def test_values_that_mlx_does_not_have(self, arguments: list[str], tiny_checkpoint: Path, tmp_path: Path) -> None:
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(tiny_checkpoint), "--out", str(tmp_path / "out"), *arguments])
        assert stopped.value.code == 2
        with pytest.raises(ValueError, match="must be one of"):
            convert(tiny_checkpoint, tmp_path / "out", quantize=int(arguments[1]), group_size=int(arguments[-1]))

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{", "not JSON"),
            ("[]", "JSON object"),
            ('{"keeps": []}', "'keeps' is not known"),
            ('{"keep": "flow"}', "keep must be a list"),
            ('{"dtype": "int8"}', "dtype must be one of"),
            ('{"quantize": 5}', "quantize must be one of"),
            ('{"quantize": 4, "group_size": 7}', "group_size must be one of"),
            ('{"dtype": "float16"}', "--dtype is bfloat16, but"),
            ('{"keep": ["flow.nothing"]}', "there is no layer 'flow.nothing'"),
        ],
    )
    def test_a_recipe_that_is_none(self, text: str, words: str, fails: Any, tmp_path: Path) -> None:
        (tmp_path / "recipe.json").write_text(text)
        assert words in fails("--dtype", "bfloat16", "--recipe", str(tmp_path / "recipe.json"))

    def test_a_recipe(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        recipe = {"dtype": "bfloat16", "quantize": 8, "group_size": 32, "keep": ["llm.llm_decoder"]}
        (tmp_path / "recipe.json").write_text(json.dumps(recipe))
        arguments = ["--recipe", str(tmp_path / "recipe.json"), "--keep-float32-layers", f"{BACKBONE}.norm"]
        out = tmp_path / "out"
        assert cli.main([str(tiny_checkpoint), "--out", str(out), "--components", "llm", *arguments]) == 0
        assert content(out)["layer_dtypes"] == {"llm.llm_decoder": "float32", f"{BACKBONE}.norm": "float32"}
        assert content(out)["quantization"]["bits"] == 8
        assert content(out)["dtypes"] == {"llm": "bfloat16"}


def test_packed_models_are_cut_into_shards_and_are_the_same_every_time(
    packed: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    again = convert(tiny_checkpoint, tmp_path / "again", components=["llm"], quantize=4).out
    assert (again / "model.safetensors").read_bytes() == (packed / "model.safetensors").read_bytes()
    assert (again / "model.safetensors").stat().st_size < MAX_SHARD_BYTES
    out = convert(tiny_checkpoint, tmp_path / "out", components=["llm"], quantize=4, max_shard_bytes=100_000).out
    assert len(list(out.glob("*.safetensors"))) > 2
    np.testing.assert_array_equal(log_probs(load(out)), log_probs(load(packed)))
    assert dataclasses.asdict(read_config(out)[0]) == dataclasses.asdict(read_config(packed)[0])
