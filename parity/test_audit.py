"""All that the model consists of is what the official files hold."""

from __future__ import annotations

import pytest

from mlx_parity.compare import Verdict
from mlx_parity.findings import StageReport
from parity.audit import audit
from parity.pair import Pair


@pytest.fixture(scope="module")
def audits(pair: Pair) -> list[StageReport]:
    return audit(pair)


def test_everything_is_as_the_official_files_have_it(audits: list[StageReport]) -> None:
    wrong = [layer for report in audits for layer in report.layers if layer.verdict is not Verdict.PASS]
    assert not wrong, "\n  ".join(f"{layer.path}: {layer.reason}" for layer in wrong[:10])


def test_nothing_is_left_out(pair: Pair, audits: list[StageReport]) -> None:
    """Every component of the model is among them, and each has something to say."""
    assert {report.name for report in audits} >= {f"audit.{name}" for name in (*pair.model.dtypes, "model")}
    assert all(report.layers for report in audits)
