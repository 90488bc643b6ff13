"""Drift by dtype on the tiny pair: what is rounded, who is blamed, and what the exceptions save."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from converters.convert import convert
from converters.families import OFFICIALS
from mlx_cosyvoice.model import load
from mlx_parity.intercept import ModuleCall, intercepted
from mlx_parity.stage import Given
from mlx_parity.taps import first_of
from parity.__main__ import main
from parity.drift.networks import DRIFT_STAGES, groups
from parity.drift.ranking import DriftReport, drift, reference_arrays
from parity.drift.rounding import PRECISIONS, Precision, parse_precision, rounded, rounds_output
from parity.inputs import load_inputs
from parity.pair import Pair, load_pair
from parity.sides.mlx import MLXSide
from parity.stages import Settings

SETTINGS = Settings(llm_steps=6, n_timesteps=2, sampler_rows=40)
HALVES = [Precision("float16"), Precision("bfloat16")]


def _inputs() -> dict[str, Any]:
    inputs = load_inputs()
    return inputs | {"wave16": inputs["wave16"][:8000], "wave24": inputs["wave24"][:12000]}


@pytest.fixture
def pair(tiny_checkpoint: Path, tiny_model: Path) -> Pair:
    return load_pair(tiny_checkpoint, tiny_model)


@pytest.fixture
def pair3(tiny_checkpoint3: Path, tiny_model3: Path) -> Pair:
    return load_pair(tiny_checkpoint3, tiny_model3)


def _keys(module: nn.Module) -> list[str]:
    return [str(entry[0]) for entry in tree_flatten(module.parameters())]


def _module(pair: Pair, component: str) -> Any:
    return getattr(pair.model, component)


def _drift(pair: Pair, precisions: Sequence[Precision], *stages: str) -> DriftReport:
    return drift(pair, _inputs(), precisions, stages=stages, settings=SETTINGS)


@pytest.fixture(scope="module")
def healthy(tiny_checkpoint: Path, tiny_model: Path) -> DriftReport:
    return _drift(load_pair(tiny_checkpoint, tiny_model), [parse_precision(name) for name in PRECISIONS])


def _final(report: DriftReport, stage: str, dtype: str) -> float:
    (found,) = (s for s in report.stages if (s.stage, s.precision.name) == (stage, dtype))
    return found.final.relative_rms


def test_every_network_is_measured_in_the_dtypes_that_apply(healthy: DriftReport) -> None:
    assert [(s.stage, s.precision.name) for s in healthy.stages] == [
        *(("llm", name) for name in PRECISIONS),
        *((stage, name) for stage in ("flow", "vocoder") for name in ("float16", "bfloat16")),
    ]


def test_coarser_is_worse(healthy: DriftReport) -> None:
    llm = {name: _final(healthy, "llm", name) for name in PRECISIONS}
    assert llm["float16"] < llm["bfloat16"] < llm["q8"] < llm["q4"]
    assert _final(healthy, "flow", "float16") < _final(healthy, "flow", "bfloat16")


def test_float32_agrees_with_the_reference(healthy: DriftReport) -> None:
    for stage in healthy.stages:
        assert stage.baseline.relative_rms < (1e-5 if stage.stage != "vocoder" else 5e-3), stage.stage


def test_first_order_shares_explain_the_final_error(healthy: DriftReport) -> None:
    for stage in healthy.stages:
        if stage.stage == "vocoder":
            assert stage.explained is None
        else:
            assert stage.explained == pytest.approx(1, abs=0.2 if stage.precision.name == "q4" else 0.05)


def test_exceptions_reduce_the_final_error_and_are_the_best_verified(healthy: DriftReport) -> None:
    proposed = [stage for stage in healthy.stages if stage.exceptions]
    # in 8 bits no group stands out; which of others do, and would help, is the processor's affair as well
    others = {(s.stage, s.precision.name) for s in healthy.stages if s not in proposed and not s.note}
    assert others <= {("llm", "q8")}
    assert {"llm", "vocoder"} <= {stage.stage for stage in proposed}
    for stage in proposed:
        assert stage.kept.relative_rms < 0.9 * stage.final.relative_rms, (stage.stage, stage.precision.name)
        verified = [group.path for group in stage.groups if group.alone is not None]
        assert stage.exceptions == verified[: len(stage.exceptions)]


def test_exceptions_that_do_not_help_are_not_proposed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.drift.measure.HELPS", 0.0)
    for stage in _drift(pair, HALVES, "llm").stages:
        assert stage.exceptions == []
        assert stage.note.endswith("in float32 would not make the error smaller")
        assert stage.kept == stage.final


def test_groups_are_ranked_by_share(healthy: DriftReport) -> None:
    for stage in healthy.stages:
        shares = [abs(group.share) for group in stage.groups]
        assert shares == sorted(shares, reverse=True), (stage.stage, stage.precision.name)


def test_ranking_is_deterministic(healthy: DriftReport, pair: Pair) -> None:
    again = _drift(pair, HALVES, "llm", "flow").stages
    before = [s for s in healthy.stages if s.stage != "vocoder" and not s.precision.quantized]
    assert [[vars(g) for g in s.groups] for s in again] == [[vars(g) for g in s.groups] for s in before]


def test_the_model_is_left_as_it_was(pair: Pair) -> None:
    before = [(path, type(m), {k: id(v) for k, v in m.items()}) for path, m in _module(pair, "llm").named_modules()]
    _drift(pair, [Precision("bfloat16"), Precision("q4")], "llm")
    assert before == [
        (path, type(m), {k: id(v) for k, v in m.items()}) for path, m in _module(pair, "llm").named_modules()
    ]


def test_a_layer_of_bad_dynamic_range_ranks_first(pair: Pair) -> None:
    # float16 is coarse below 6e-5, bfloat16 is not
    block = _module(pair, "flow").decoder.estimator.mid_blocks[0][1][0].attn1
    block.to_v.weight = block.to_v.weight * 1e-6
    block.to_out[0].weight = block.to_out[0].weight * 1e6 / 16
    (half,) = _drift(pair, HALVES[:1], "flow").stages
    assert half.groups[0].path == "flow.decoder.estimator.mid_blocks.0.1.0"
    assert half.exceptions == [half.groups[0].path]
    assert half.kept.relative_rms < 0.7 * half.final.relative_rms
    (bfloat,) = _drift(pair, HALVES[1:], "flow").stages
    assert bfloat.groups[0].path != half.groups[0].path


def test_a_layer_that_overflows_ranks_first_and_is_proposed(pair: Pair) -> None:
    mlp = _module(pair, "llm").llm.model.model.layers[1].mlp
    mlp.up_proj.weight, mlp.down_proj.weight = mlp.up_proj.weight * 1e7, mlp.down_proj.weight * 1e-7
    (stage,) = _drift(pair, HALVES[:1], "llm").stages
    assert stage.groups[0].path == "llm.llm.model.model.layers.1" == stage.exceptions[0]
    assert math.isinf(stage.groups[0].own)
    assert math.isinf(stage.final.relative_rms)
    assert all(math.isfinite(group.own) for group in stage.groups[1:])
    assert stage.kept.relative_rms < 1e-3


def test_an_outlier_hurts_the_quantized_layer(pair: Pair) -> None:
    _module(pair, "llm").llm_decoder.weight[:, 0] = 40.0
    (stage,) = _drift(pair, [Precision("q4")], "llm").stages
    assert stage.groups[0].path == "llm.llm_decoder"


def test_weights_inputs_and_outputs_are_rounded() -> None:
    layer = nn.Linear(8, 4)
    x = mx.random.normal((5, 8), key=mx.random.key(1))

    def half(array: mx.array) -> mx.array:
        return array.astype(mx.bfloat16).astype(mx.float32)

    expected = half(half(x) @ half(layer.weight).T + half(layer.bias))
    with rounded([("llm.layer", layer)], Precision("bfloat16")):
        np.testing.assert_allclose(np.array(layer(x)), np.array(expected), rtol=2**-8, atol=1e-6)
        assert np.array_equal(np.array(layer(x)), np.array(layer(half(x))))
        assert np.array_equal(np.array(layer(x)), np.array(half(layer(x))))
    assert not np.array_equal(np.array(layer(x)), np.array(half(layer(x))))


def test_quantized_weights_are_those_of_mlx(pair: Pair) -> None:
    layer = _module(pair, "llm").llm_decoder
    x = mx.random.normal((3, layer.weight.shape[1]), key=mx.random.key(0))
    expected = layer.to_quantized(group_size=32, bits=4)(x)
    with rounded([("llm.llm_decoder", layer)], Precision("q4", 32)):
        np.testing.assert_allclose(np.array(layer(x)), np.array(expected), atol=1e-5)


def test_layers_whose_width_does_not_divide_are_named(healthy: DriftReport) -> None:
    (stage,) = (s for s in healthy.stages if s.precision.name == "q8")
    assert "llm.llm.model.model.layers.0.mlp.down_proj" in stage.not_quantized
    assert "llm.llm.model.model.embed_tokens" in stage.quantized


def test_cosyvoice3(pair3: Pair) -> None:
    report = _drift(pair3, HALVES[:1])
    assert [stage.stage for stage in report.stages] == ["llm", "flow", "vocoder"]
    for stage in report.stages:
        assert len(stage.groups) > 4, stage.stage
        assert 1e-5 < stage.final.relative_rms < 0.1, stage.stage
        assert stage.baseline.relative_rms < (1e-5 if stage.stage != "vocoder" else 5e-3), stage.stage
    llm, flow, _ = ({group.path for group in stage.groups} for stage in report.stages)
    assert "llm.llm.model.model.layers.1" in llm
    blocks = {f"flow.decoder.estimator.transformer_blocks.{number}" for number in (0, 1)}
    assert {"flow.pre_lookahead_layer", "flow.decoder.estimator.time_embed", *blocks} <= flow
    assert report.stages[1].explained == pytest.approx(1, abs=0.05)


@pytest.fixture(scope="module")
def half_model(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half") / "model"
    return convert(tiny_checkpoint, folder, dtype="float16", keep_float32=[]).out


@pytest.fixture(scope="module")
def half3(tiny_checkpoint3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("half3") / "model"
    return convert(tiny_checkpoint3, out, dtype="float16", keep_float32=[], components=["flow", "hift"]).out


def test_the_simulation_is_as_far_off_as_a_real_half_precision_model(
    healthy: DriftReport, pair: Pair, half_model: Path
) -> None:
    arrays = reference_arrays(pair, _inputs(), {stage.last for stage in DRIFT_STAGES}, settings=SETTINGS)
    half = load_pair(pair.reference.checkpoint, half_model).model
    for stage in DRIFT_STAGES:
        exact, real = (
            np.array(stage.run(MLXSide(getattr(model, stage.component)), Given(arrays, SETTINGS)))
            for model in (pair.model, half)
        )
        error = np.sqrt(np.mean((real - exact) ** 2) / np.mean(exact**2))
        assert 0.6 < _final(healthy, stage.name, "float16") / error < 1.6, (stage.name, error)


@pytest.mark.parametrize(("folder", "component"), [("half_model", "hift"), ("half3", "hift"), ("half3", "flow")])
def test_outputs_are_rounded_where_a_half_precision_model_has_half_precision(
    folder: str, component: str, request: pytest.FixtureRequest
) -> None:
    whole = load(request.getfixturevalue(folder), dtype=None)
    model, declared = getattr(whole, component), whole.family[component]
    seen: dict[str, mx.Dtype] = {}

    def watch(call: ModuleCall) -> Any:
        output = call.run()
        seen[call.path] = first_of(output).dtype
        return output

    modules = {f"{component}.{path}": module for path, module in model.named_modules()}
    inside = {
        p: m for p, m in modules.items() if any(f"{p}.".startswith(f"{group}.") for group in groups(declared, model))
    }
    with intercepted(inside, watch):
        OFFICIALS[whole.family.model_type].origins[component].trial(model, whole.config, np.random.default_rng(0))
    assert len(seen) > 20
    assert {path: dtype == mx.float16 for path, dtype in seen.items()} == {path: rounds_output(path) for path in seen}


@pytest.mark.parametrize("family", ["pair", "pair3"])
def test_groups_hold_every_weight_once(family: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(family).model
    for component in ("llm", "flow", "hift"):
        network, declared = getattr(model, component), model.family[component]
        held = [f"{path}.{key}" for path, module in groups(declared, network).items() for key in _keys(module)]
        assert len(held) == len(set(held))
        left = {f"{component}.{key}" for key in _keys(network)} - set(held)
        assert all(declared.always_float32(key.removeprefix(f"{component}.")) for key in left), left


@pytest.mark.parametrize("name", ["int3", "", "Float16", "q2"])
def test_an_unknown_dtype_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is unknown; there are: float16, bfloat16, q8, q4"):
        parse_precision(name)


def test_an_impossible_group_size_is_refused() -> None:
    with pytest.raises(ValueError, match="group size 48 is not possible; there are: 32, 64, 128"):
        parse_precision("q4", 48)


def test_unknown_stages_and_dtypes_that_do_not_apply_are_refused(pair: Pair) -> None:
    with pytest.raises(ValueError, match="no such stage: encoder; drift is measured in: llm, flow, vocoder"):
        _drift(pair, HALVES, "encoder")
    with pytest.raises(ValueError, match="q8 and q4 are for llm alone"):
        _drift(pair, [Precision("q8")], "vocoder")


def test_a_half_precision_model_is_refused(pair: Pair, half_model: Path) -> None:
    with pytest.raises(ValueError, match="llm of the model is float16; drift is measured from float32"):
        _drift(load_pair(pair.reference.checkpoint, half_model), HALVES, "llm")


def test_command_line(
    tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["drift", "--checkpoint", str(tiny_checkpoint), "--model", str(tiny_model), "--stages", "llm"]
    assert main([*arguments, "--dtypes", "int3"]) == 2
    assert "dtype 'int3' is unknown" in capsys.readouterr().err
    arguments += ["--dtypes", "bfloat16,q4", "--group-size", "32", "--llm-steps", "4"]
    assert main([*arguments, "--json", str(tmp_path / "drift.json")]) == 0
    shown = capsys.readouterr().out
    assert "proposed exceptions: llm.llm.model.model.layers.0" in shown
    assert "quantized: 18 of 18 Linear and Embedding layers, group size 32" in shown
    data = json.loads((tmp_path / "drift.json").read_text())
    assert [entry["dtype"] for entry in data["drift"]] == ["bfloat16", "q4"]
    for entry in data["drift"]:
        assert entry["final_with_exceptions"]["relative_rms"] < entry["final"]["relative_rms"]
        assert [group["rank"] for group in entry["groups"]] == list(range(1, len(entry["groups"]) + 1))
