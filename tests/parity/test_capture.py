"""`run --capture` says what a live run says, and refuses what it was not made for."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_parity.captures.values import CaptureError
from parity.findings import RunReport
from parity.pair import Pair, load_pair
from parity.run import record, run
from parity.stages import Settings
from tests.support.recordings import short_inputs

STAGES = ["speech_tokenizer", "llm"]


@pytest.fixture(scope="module")
def pair(tiny_checkpoint: Path, tiny_model: Path) -> Pair:
    return load_pair(tiny_checkpoint, tiny_model)


def figures(report: RunReport) -> object:
    rows = [(row.path, row.verdict, str(row.ratio)) for part in report.parts for row in (*part.layers, *part.outputs)]
    return report.verdict, [culprit.evidence for culprit in report.culprits], rows


def test_a_captured_run_is_the_live_one(pair: Pair, tmp_path: Path) -> None:
    settings = Settings(llm_steps=4, sampler_rows=4)
    live = run(pair, short_inputs(), stages=STAGES, settings=settings)
    record(pair, short_inputs(), tmp_path, stages=STAGES, settings=settings)
    again = run(pair, {}, stages=STAGES, settings=settings, recorded=tmp_path)
    assert figures(again) == figures(live)


def test_a_capture_of_another_mode_is_refused(pair: Pair, tmp_path: Path) -> None:
    record(pair, short_inputs(), tmp_path, stages=["speech_tokenizer"])
    with pytest.raises(CaptureError, match="its mode is 'offline', not 'official'"):
        run(pair, {}, stages=["speech_tokenizer"], settings=Settings(streaming="official"), recorded=tmp_path)
