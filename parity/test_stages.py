"""Every stage of the MLX model computes what the PyTorch reference computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlx_parity.compare import Layer, Verdict
from mlx_parity.findings import StageReport
from mlx_parity.report.culprits import headline
from parity.findings import RunReport
from parity.stages import compared_in
from parity.stages.base import Streaming

MODES: dict[Streaming | None, str] = {None: "offline", "official": "streaming", "incremental": "incremental"}
CASES = [
    pytest.param(streaming, stage.name, id=f"{mode}-{stage.name}")
    for streaming, mode in MODES.items()
    for stage in compared_in(streaming)
]
Report = Callable[[Streaming | None], RunReport]


def _describe(layer: Layer) -> str:
    return f"{layer.path}: {layer.verdict.value}, {layer.words}"


def _blame(stage: StageReport) -> str:
    """The culprits of a stage, a line each."""
    return "\n  ".join(f"culprit: {headline(culprit)}\n    {culprit.evidence[0]}" for culprit in stage.culprits)


def _stage(report: Report, streaming: Streaming | None, name: str) -> StageReport:
    return next(stage for stage in report(streaming).stages if stage.name == name)


@pytest.mark.parametrize(("streaming", "name"), CASES)
def test_stage(report: Report, streaming: Streaming | None, name: str) -> None:
    """The stage's outputs and layers are right, errors adding up as they do in use."""
    stage = _stage(report, streaming, name)
    wrong = [layer for layer in stage.layers + stage.outputs if layer.verdict is not Verdict.PASS]
    if wrong:
        shown = "\n  ".join(_describe(layer) for layer in wrong[:10])
        pytest.fail(f"{_blame(stage)}\n  {len(wrong)} layers are wrong, the first ones in data-flow order:\n  {shown}")


@pytest.mark.parametrize(("streaming", "name"), CASES)
def test_modules(report: Report, streaming: Streaming | None, name: str) -> None:
    """Every module of the stage is right by itself, on the reference's own inputs."""
    stage = _stage(report, streaming, name)
    assert not stage.culprits, _blame(stage)
    wrong = [layer for layer in stage.isolated if layer.verdict is not Verdict.PASS]
    assert not wrong, "\n  ".join(_describe(layer) for layer in wrong[:10])


@pytest.mark.parametrize("streaming", MODES, ids=MODES.values())
def test_everything_is_observed(report: Report, streaming: Streaming | None) -> None:
    unobserved = report(streaming).unobserved
    assert not unobserved, "\n  ".join(unobserved[:10])
