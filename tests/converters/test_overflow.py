"""Components that float16 cannot hold: they are found by running them, stored in bfloat16, and said to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten

from converters import __main__ as cli
from converters.convert import convert
from converters.families import OFFICIALS
from converters.overflow import Reach, overflowing
from mlx_cosyvoice.config import from_dict
from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.nn.official import Converted
from mlx_cosyvoice.weights import load_weights, read_config
from mlx_parity.compare import Verdict
from parity.pair import load_pair
from parity.run import run
from parity.stages import Settings
from reference.synthetic.sizes import SIZES3, TINY
from tests.support.checkpoints import change_state, damaged_copy
from tests.support.recordings import short_inputs

ENCODER, BLOCK = "encoder.encoders.0", "decoder.estimator.transformer_blocks.0"
LAYER = "llm.model.model.layers.0"
#: A change of a state dict: key -> factor.
Factors = dict[str, float]


@pytest.fixture
def changed(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, str, Factors], Path]:
    """Gives a copy of a family's tiny checkpoint, tensors of one component multiplied."""

    def make(family: str, component: str, factors: Factors) -> Path:
        def multiply(state: dict[str, torch.Tensor]) -> None:
            prefix = "generator." if any(key.startswith("generator.") for key in state) else ""
            for key, factor in factors.items():
                state[prefix + key] = state[prefix + key] * factor

        good = request.getfixturevalue("tiny_checkpoint" if family == "cosyvoice2" else "tiny_checkpoint3")
        return damaged_copy(good, tmp_path / "checkpoint", f"{component}.pt", change_state(multiply))

    return make


#: Family, component, what is multiplied by what, where too much is reached, and the stage that shows it.
CASES = {
    "a residual": (
        "cosyvoice2", "flow", {f"{ENCODER}.feed_forward.w_2.weight": 1e5}, f"{ENCODER} gives", "flow_encoder"
    ),
    "a residual of the DiT": ("cosyvoice3", "flow", {f"{BLOCK}.ff.ff.2.weight": 1e5}, f"{BLOCK} gives", "flow_decoder"),
    "a residual of the LLM": ("cosyvoice3", "llm", {f"{LAYER}.mlp.down_proj.weight": 1e5}, f"{LAYER} gives", "llm"),
    "a product of two layers": (
        "cosyvoice2", "llm",
        {f"{LAYER}.mlp.{name}_proj.weight": factor for name, factor in {"gate": 1e2, "up": 1e3, "down": 1e-5}.items()},
        f"{LAYER}.mlp.down_proj takes", "llm",
    ),
    "scores of positions": (
        "cosyvoice2", "flow", {f"{ENCODER}.self_attn.linear_pos.weight": 3e3}, f"{ENCODER}.self_attn weighs",
        "flow_encoder",
    ),
    "scores": (
        "cosyvoice3", "flow", {f"{BLOCK}.attn.to_q.weight": 200, f"{BLOCK}.attn.to_k.weight": 200},
        f"{BLOCK}.attn weighs", "flow_decoder",
    ),
    # two that compute the same as before, from a weight that is too large by itself
    "a weight": (
        "cosyvoice2", "llm",
        {f"{LAYER}.input_layernorm.weight": 1e5, **{f"{LAYER}.self_attn.{x}_proj.weight": 1e-5 for x in "qkv"}},
        f"{LAYER}.input_layernorm.weight is", "llm",
    ),
    "a weight of the DiT": (
        "cosyvoice3", "flow", {f"{BLOCK}.attn.to_v.bias": 1e7, f"{BLOCK}.attn.to_out.0.weight": 1e-7},
        f"{BLOCK}.attn.to_v.bias is", "flow_decoder",
    ),
    "a vocoder": ("cosyvoice3", "hift", {"conv_pre.bias": 1e6}, "conv_pre gives", "vocoder"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_float16_cannot_hold_is_bfloat16_and_right(
    name: str, changed: Any, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    family, component, factors, place, stage = CASES[name]
    checkpoint, out = changed(family, component, factors), tmp_path / "out"
    arguments = [str(checkpoint), "--out", str(out), "--dtype", "float16", "--keep-float32", ""]
    assert cli.main([*arguments, "--components", component]) == 0
    assert read_config(out)[1]["dtypes"] == {component: "bfloat16"}
    reached = json.loads((out / "conversion.json").read_text())["overflow"][component]
    assert any(line.startswith(f"{component}.{place} ") for line in reached), reached
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "bfloat16" in line]
    assert f"needs a margin of 4 to hold: {reached[0]}" in line
    assert reached[0] in (out / "README.md").read_text()
    assert passes(checkpoint, out, stage) == "bfloat16"


def passes(checkpoint: Path, out: Path, stage: str) -> str:
    """The dtype in which a stage of the model passes."""
    settings = Settings(llm_steps=4, n_timesteps=1, sampler_rows=4)
    report = run(load_pair(checkpoint, out), short_inputs(1), stages=[stage], settings=settings)
    assert report.verdict is Verdict.PASS
    return report.stages[0].dtype


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_other_dtypes_are_as_asked_for(dtype: str, changed: Any, tmp_path: Path) -> None:
    family, component, factors, *_ = CASES["a residual"]
    checkpoint = changed(family, component, factors)
    report = convert(checkpoint, tmp_path / "out", components=[component], dtype=dtype)
    assert (report.dtypes, report.record["overflow"]) == ({component: dtype}, {})


@pytest.mark.parametrize("fixture", ["tiny_checkpoint", "tiny_checkpoint3"])
def test_nothing_is_kept_of_healthy_models(fixture: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    report = convert(request.getfixturevalue(fixture), tmp_path / "out", dtype="float16", keep_float32=[])
    assert set(report.dtypes.values()) == {"float16"}
    assert report.record["overflow"] == {}


def test_packed_layers_have_scales_of_bfloat16(changed: Any, tmp_path: Path) -> None:
    family, component, factors, *_ = CASES["a residual of the LLM"]
    checkpoint = changed(family, component, factors)
    out = convert(checkpoint, tmp_path / "out", components=[component], dtype="float16", quantize=4, group_size=32).out
    weights = load_weights(out)
    assert weights[f"llm.{LAYER}.mlp.down_proj.scales"].dtype == mx.bfloat16
    assert weights[f"llm.{LAYER}.mlp.down_proj.weight"].dtype == mx.uint32


def test_within_layers_that_are_kept_in_float32_nothing_overflows(changed: Any, tmp_path: Path) -> None:
    """Which are larger than float16's largest number themselves here."""
    factors = {f"{BLOCK}.ff.ff.0.0.weight": 1e6, f"{BLOCK}.ff.ff.2.weight": 1e-6}
    convert_it: dict[str, Any] = {"components": ["flow"], "dtype": "float16"}
    checkpoint = changed("cosyvoice3", "flow", factors)
    report = convert(checkpoint, tmp_path / "plain", **convert_it)
    assert report.dtypes == {"flow": "bfloat16"}
    assert all(f"flow.{BLOCK}.ff." in line for line in report.record["overflow"]["flow"])
    kept = convert(checkpoint, tmp_path / "kept", keep_float32_layers=[f"flow.{BLOCK}.ff"], **convert_it)
    assert (kept.dtypes, kept.record["overflow"]) == ({"flow": "float16"}, {})
    assert passes(checkpoint, kept.out, "flow_decoder") == "float16"


def test_there_is_a_margin() -> None:
    assert [Reach(size, "a", "gives").overflows for size in (16376.0, 16377.0, np.inf)] == [False, True, True]


@pytest.mark.parametrize(
    ("family", "component"),
    [*(("cosyvoice2", name) for name in COSYVOICE2.names), *(("cosyvoice3", name) for name in ("llm", "flow", "hift"))],
)
def test_every_layer_is_run_with_its_own_weights_alone(family: str, component: str) -> None:
    """No more than those of one layer are in memory, and the drawn inputs leave no layer out."""
    official = OFFICIALS[family]
    config: Any = from_dict(official.family.config, TINY if official.family is COSYVOICE2 else SIZES3["tiny"])
    network = official.family[component].build(config)
    read: list[str] = []
    held: list[set[str]] = []

    def own(path: str, module: nn.Module) -> list[Converted]:
        read.append(path)
        weights: Any = tree_flatten(network.parameters())
        held.append({name for name, array in weights if array.dtype == mx.float32})
        draw = np.random.default_rng(len(read))
        shapes = {name: value.shape for name, value in module.items() if isinstance(value, mx.array)}
        scale = {name: 1 / np.sqrt(np.prod(shape[1:])) for name, shape in shapes.items()}
        return [
            Converted(f"{path}.{name}", (draw.standard_normal(shape) * scale[name]).astype(np.float32), ())
            for name, shape in shapes.items()
        ]

    def trial() -> None:
        official.origins[component].trial(network, config, np.random.default_rng(0))
        owners = {path for path, module in network.named_modules() if any(map(_is_array, module.values()))}
        assert owners - {"decoder"} == set(read)  # that is the noise, in float32, which nothing is computed from

    assert overflowing(network, trial, own, official.family[component].always_float32) == []
    assert len(read) > 20
    assert max(map(len, held)) <= 1


def _is_array(value: Any) -> bool:
    return isinstance(value, mx.array)
