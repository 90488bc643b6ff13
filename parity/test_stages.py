"""Every stage of the MLX model computes what the PyTorch reference computes."""

from __future__ import annotations

import pytest

from parity.compare import Layer, Verdict
from parity.run import RunReport
from parity.stages import STAGES


def _describe(layer: Layer) -> str:
    if layer.difference is None:
        return f"{layer.path}: {layer.verdict.value}, {layer.reason}"
    d = layer.difference
    return (
        f"{layer.path}: {layer.verdict.value}, {layer.ratio:.3g} noise floors, max abs {d.max_abs:.3g}, "
        f"SNR {d.snr_db:.1f} dB, mean {d.mean:.4g} (reference {d.mean_reference:.4g}), "
        f"std {d.std:.4g} (reference {d.std_reference:.4g})"
    )


@pytest.mark.parametrize("name", [stage.name for stage in STAGES])
def test_stage(report: RunReport, name: str) -> None:
    stage = next(stage for stage in report.stages if stage.name == name)
    wrong = [layer for layer in stage.layers + stage.outputs if layer.verdict is not Verdict.PASS]
    shown = "\n  ".join(_describe(layer) for layer in wrong[:10])
    assert stage.verdict is Verdict.PASS, (
        f"{len(wrong)} layers are wrong, the first ones in data-flow order:\n  {shown}"
    )
