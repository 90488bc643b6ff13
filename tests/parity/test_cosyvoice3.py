"""Parity of CosyVoice3: a healthy model passes in every mode. Its own mistakes are tried by `parity/test_faults.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_parity.compare import Verdict
from parity.pair import Pair, load_pair
from parity.run import run
from parity.stages import Settings
from parity.stages.base import Streaming
from tests.support.recordings import short_inputs


@pytest.fixture(scope="module")
def pair(tiny_checkpoint3: Path, tiny_model3: Path) -> Pair:
    return load_pair(tiny_checkpoint3, tiny_model3)


@pytest.mark.parametrize(
    "streaming", [*(pytest.param(mode, marks=pytest.mark.slow) for mode in (None, "official")), "incremental"]
)
def test_a_healthy_model_passes(pair: Pair, streaming: Streaming | None) -> None:
    report = run(pair, short_inputs(), settings=Settings(streaming=streaming, sampler_rows=64))
    wrong = [layer for stage in report.stages for layer in stage.layers + stage.outputs if layer.verdict != "pass"]
    assert not wrong
    assert report.verdict is Verdict.PASS
    assert not report.culprits
