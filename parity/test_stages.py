"""Every stage of the MLX model computes what the PyTorch reference computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from parity.compare import Layer, Verdict
from parity.conftest import compared_in
from parity.localization import LocaliseReport
from parity.report.culprits import headline
from parity.run import RunReport
from parity.stages import STAGES
from parity.stages.base import Streaming

MODES: dict[Streaming | None, str] = {None: "offline", "official": "streaming", "incremental": "incremental"}
CASES = [
    pytest.param(streaming, stage.name, id=f"{mode}-{stage.name}")
    for streaming, mode in MODES.items()
    for stage in STAGES
    if stage.name in compared_in(streaming)
]
Report = Callable[[Streaming | None], RunReport | Exception]
Findings = Callable[[Streaming | None], LocaliseReport]


def _describe(layer: Layer) -> str:
    if layer.difference is None:
        return f"{layer.path}: {layer.verdict.value}, {layer.reason}"
    d = layer.difference
    return (
        f"{layer.path}: {layer.verdict.value}, {layer.ratio:.3g} noise floors, max abs {d.max_abs:.3g}, "
        f"SNR {d.snr_db:.1f} dB, mean {d.mean:.4g} (reference {d.mean_reference:.4g}), "
        f"std {d.std:.4g} (reference {d.std_reference:.4g})"
    )


def _blame(findings: LocaliseReport, name: str) -> str:
    """The culprits of a stage, a line each."""
    culprits = [culprit for culprit in findings.culprits if culprit.stage == name]
    lines = [f"culprit: {headline(culprit)}\n    {culprit.evidence[0]}" for culprit in culprits]
    return "\n  ".join(lines) or "no module of this stage is at fault by itself"


@pytest.mark.parametrize(("streaming", "name"), CASES)
def test_stage(report: Report, findings: Findings, streaming: Streaming | None, name: str) -> None:
    """The stage's outputs and layers are right, errors adding up as they do in use."""
    compared = report(streaming)
    if isinstance(compared, Exception):
        pytest.fail(f"raised {type(compared).__name__}: {compared}\n  {_blame(findings(streaming), name)}")
    stage = next(stage for stage in compared.stages if stage.name == name)
    wrong = [layer for layer in stage.layers + stage.outputs if layer.verdict is not Verdict.PASS]
    if stage.verdict is not Verdict.PASS:
        shown = "\n  ".join(_describe(layer) for layer in wrong[:10])
        blame = _blame(findings(streaming), name)
        pytest.fail(f"{blame}\n  {len(wrong)} layers are wrong, the first ones in data-flow order:\n  {shown}")


@pytest.mark.parametrize(("streaming", "name"), CASES)
def test_modules(findings: Findings, streaming: Streaming | None, name: str) -> None:
    """Every module of the stage is right by itself, on the reference's own inputs."""
    found = findings(streaming)
    assert not [culprit for culprit in found.culprits if culprit.stage == name], _blame(found, name)
    wrong = [layer for layer in found.layers[name] if layer.verdict is not Verdict.PASS]
    assert not wrong, "\n  ".join(_describe(layer) for layer in wrong[:10])


@pytest.mark.parametrize("streaming", MODES, ids=MODES.values())
def test_everything_is_observed(findings: Findings, streaming: Streaming | None) -> None:
    unobserved = findings(streaming).unobserved
    assert not unobserved, "\n  ".join(unobserved[:10])
