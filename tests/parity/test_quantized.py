"""Parity of quantized and mixed models: our code against the same weights, and what the precision itself changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import __main__ as converters
from converters.convert import convert
from converters.upload import model_sha256
from mlx_cosyvoice.quantize import quantized_modules
from mlx_parity.compare import Verdict
from parity.__main__ import main
from parity.findings import RunReport
from parity.pair import Pair, load_pair
from parity.quantization import packing
from parity.run import run
from parity.stages import Outputs, Settings
from tests.support.recordings import short_inputs

SETTINGS = Settings(llm_steps=6, n_timesteps=2, sampler_rows=40)


@pytest.fixture(scope="module")
def inputs() -> dict[str, Any]:
    return short_inputs(1)


def converted(checkpoint: Path, out: Path, **options: Any) -> Pair:
    convert(checkpoint, out, **options)
    return load_pair(checkpoint, out)


@pytest.fixture(scope="module")
def packed(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Language model and flow in 4 bits, the rest in float32."""
    out = tmp_path_factory.mktemp("packed") / "out"
    return converted(tiny_checkpoint, out, quantize=4, group_size=32, quantize_components=["llm", "flow"])


@pytest.fixture(scope="module")
def report(packed: Pair, inputs: dict[str, Any]) -> RunReport:
    return run(packed, inputs, stages=["llm", "flow_encoder", "flow_decoder"], settings=SETTINGS)


def test_our_code_is_right_whatever_packing_costs(report: RunReport) -> None:
    wrong = [row for stage in report.stages for row in stage.layers + stage.outputs if row.verdict is not Verdict.PASS]
    assert not wrong
    assert all(len(stage.layers) > 20 for stage in report.stages)
    assert report.culprits == []


def test_what_packing_changed(report: RunReport) -> None:
    llm, flow = report.quantization
    assert (llm.component, llm.bits, llm.group_size, llm.layers) == ("llm", 4, 32, 18)
    assert flow.component == "flow"
    for drift in (llm, flow):
        assert 0.05 < drift.weight_error < 0.12
    assert 0 < llm.measures["kl"] < 1
    assert 0 <= llm.measures["top1_agreement"] <= 1
    assert set(flow.outputs) == {"mel", "wav"}
    assert 0.001 < llm.outputs["log_probs"].relative_rms < 0.5
    assert 0.001 < flow.outputs["mel"].relative_rms < 1


def test_the_official_weights_show_what_packing_costs(packed: Pair, inputs: dict[str, Any]) -> None:
    """Without the unpacked weights on the other side, 4 bits look like a wrong port."""
    unfair = Pair(packed.original, packed.model, packed.original, packed.folder)
    assert run(unfair, inputs, stages=["llm"], settings=SETTINGS).verdict is Verdict.DIVERGED


def test_the_kl_of_known_distributions(packed: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    official, coarse = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.25, 0.75], [0.9, 0.1]])
    sides = {id(packed.original): (official, [[1, 0]]), id(packed.reference): (coarse, [[1, 1]])}

    def made(name: str, reference: Any, *rest: Any) -> Outputs:
        probabilities, tokens = sides[id(reference)]
        return Outputs({"log_probs": np.log(probabilities)[None]}, {"speech_token": np.array(tokens)})

    monkeypatch.setattr(packing, "_run", made)
    (drift,) = packing.quantization_drift(packed, {}, {"llm"}, SETTINGS)
    assert drift.measures["kl"] == pytest.approx((0.5 * np.log(2) + 0.5 * np.log(2 / 3)) / 2)
    assert drift.measures["top1_agreement"] == 0.5
    assert drift.measures["token_agreement"] == 0.5


def test_more_bits_drift_less(tiny_checkpoint: Path, tmp_path: Path, inputs: dict[str, Any], report: RunReport) -> None:
    pair = converted(tiny_checkpoint, tmp_path / "out", components=["llm", "campplus", "speech_tokenizer"], quantize=8)
    finer = run(pair, inputs, stages=["llm"], settings=SETTINGS)
    assert finer.verdict is Verdict.PASS
    (drift,) = finer.quantization
    assert drift.bits == 8
    assert drift.layers == 16
    assert drift.weight_error < report.quantization[0].weight_error / 8
    assert drift.measures["kl"] < report.quantization[0].measures["kl"] / 8


@pytest.mark.parametrize("bits", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_half_precision_around_packed_layers(
    bits: int, tiny_checkpoint: Path, tmp_path: Path, inputs: dict[str, Any]
) -> None:
    pair = converted(tiny_checkpoint, tmp_path / "out", dtype="bfloat16", quantize=bits, group_size=32)
    (stage,) = run(pair, inputs, stages=["llm"], settings=SETTINGS).stages
    assert stage.dtype == "bfloat16"
    assert not [row for row in stage.layers + stage.outputs if row.verdict is not Verdict.PASS]


@pytest.mark.slow
def test_a_model_in_full_says_nothing_of_packing(
    tiny_checkpoint: Path, tiny_model: Path, inputs: dict[str, Any]
) -> None:
    pair = load_pair(tiny_checkpoint, tiny_model)
    assert pair.reference is pair.original
    assert run(pair, inputs, stages=["speaker_encoder"]).quantization == []


def test_weights_of_another_model_are_found(
    packed: Pair, tiny_checkpoint: Path, tmp_path: Path, inputs: dict[str, Any]
) -> None:
    """The reference has whatever weights the model has, so these are held against the official ones apart."""
    other = converted(tiny_checkpoint, tmp_path / "out", quantize=4, group_size=32)
    assert other.model.llm is not None
    layer = quantized_modules(other.model.llm)["llm_decoder"]
    layer["scales"] = layer["scales"] * 1.5
    compared = run(other, inputs, stages=["llm"], settings=SETTINGS)
    rows = [row for part in compared.audits for row in part.layers]
    wrong = {row.path: row.reason for row in rows if row.verdict is not Verdict.PASS}
    assert wrong["llm.llm_decoder.scales"] == "times 1.5"
    assert all(path.startswith("llm.llm_decoder.") for path in wrong)
    assert [(culprit.module, culprit.kind) for culprit in compared.culprits] == [("llm.llm_decoder", "weights")]


class TestCommands:
    def test_run_tells_the_drift(
        self, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        model, out = tmp_path / "model", tmp_path / "report"
        convert(tiny_checkpoint, model, quantize=4, group_size=32)
        arguments = ["--checkpoint", str(tiny_checkpoint), "--model", str(model), "--stages", "llm", "--layers", "none"]
        assert main(["run", *arguments, "--report", str(out), "--markdown", str(tmp_path / "summary.md")]) == 0
        line = "llm, 4 bits in groups of 32 (18 layers): weights"
        assert f"quantization drift: {line}" in capsys.readouterr().out.replace("\n", " ")
        result = json.loads((out / "parity.json").read_text())
        assert result["verdict"] == "pass"
        assert result["model_sha256"] == model_sha256(model)
        assert result["quantization"]["summary"][0].startswith(line)
        assert result["quantization"]["components"]["llm"]["measures"]["kl"] > 0
        assert line in (out / "report.html").read_text()
        assert line in (tmp_path / "summary.md").read_text()

    def test_drift_needs_float32(self, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        convert(tiny_checkpoint, tmp_path / "model", components=["llm"], quantize=4, group_size=32)
        arguments = ["--checkpoint", str(tiny_checkpoint), "--model", str(tmp_path / "model"), "--stages", "llm"]
        assert main(["drift", *arguments]) == 2
        assert "quantized" in capsys.readouterr().err

    def test_a_recipe_is_for_one_precision(
        self, tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
    ) -> None:
        arguments = ["--checkpoint", str(tiny_checkpoint), "--model", str(tiny_model)]
        assert main(["drift", *arguments, "--recipe", str(tmp_path / "recipe.json")]) == 2
        assert "one precision" in capsys.readouterr().err

    @pytest.mark.parametrize("dtype", ["bfloat16", "q4"])
    def test_a_recipe_becomes_a_model_that_passes(
        self, dtype: str, tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path, inputs: dict[str, Any]
    ) -> None:
        recipe, out = tmp_path / "recipe.json", tmp_path / "model"
        arguments = ["--checkpoint", str(tiny_checkpoint), "--model", str(tiny_model), "--stages", "llm"]
        precision = ["--dtypes", dtype, "--group-size", "32", "--llm-steps", "6"]
        assert main(["drift", *arguments, *precision, "--recipe", str(recipe)]) == 0
        written = json.loads(recipe.read_text())
        expected = {"dtype": "bfloat16"} if dtype == "bfloat16" else {"quantize": 4, "group_size": 32}
        assert {key: value for key, value in written.items() if key != "keep"} == expected
        assert written["keep"]
        assert converters.main([str(tiny_checkpoint), "--out", str(out), "--recipe", str(recipe)]) == 0
        pair = load_pair(tiny_checkpoint, out)
        assert run(pair, inputs, stages=["llm"], settings=SETTINGS).verdict is Verdict.PASS


@pytest.mark.slow
def test_a_mixed_flow_passes(tiny_checkpoint: Path, tmp_path: Path, inputs: dict[str, Any]) -> None:
    kept = ["flow.encoder.embed", "flow.decoder.estimator.final_proj", "flow.decoder.estimator.mid_blocks.0"]
    pair = converted(tiny_checkpoint, tmp_path / "out", dtype="bfloat16", keep_float32_layers=kept)
    compared = run(pair, inputs, stages=["flow_encoder", "flow_decoder"], settings=SETTINGS)
    wrong = [
        row for stage in compared.stages for row in stage.layers + stage.outputs if row.verdict is not Verdict.PASS
    ]
    assert not wrong
