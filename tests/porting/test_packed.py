"""A model of this project beside its own in 4 bits: both in MLX, judged by the code of packed layers."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.convert import convert
from mlx_parity import Verdict
from mlx_parity.port_file import PortFile, load_port_file

PORTING = Path(__file__).parents[2] / "examples" / "porting"


@pytest.fixture
def packed(tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PortFile:
    made = convert(tiny_checkpoint, tmp_path / "packed", quantize=4, group_size=32, quantize_components=("llm", "flow"))
    monkeypatch.setenv("MODEL", str(tiny_model))
    monkeypatch.setenv("PACKED", str(made.out))
    return load_port_file(PORTING / "packed.py")


def test_packed_layers_compute_with_what_packing_has_left(packed: PortFile) -> None:
    report = packed.pipeline.run(packed.inputs, stages=["llm", "flow"])
    assert report.verdict is Verdict.PASS, [(culprit.module, culprit.evidence) for culprit in report.culprits]
    assert [stage.name for stage in report.stages] == ["llm", "flow"]
    llm = packed.pipeline.stages[0]._port
    llm.llm.model.model.layers[1].mlp.up_proj.biases *= 1.05
    report = packed.pipeline.run(packed.inputs, stages=["llm"])
    assert [(culprit.module, culprit.kind) for culprit in report.culprits] == [
        ("llm.model.model.layers.1.mlp.up_proj", "weights")
    ]
