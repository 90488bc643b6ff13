"""For pytest: a fixture that fails a test in the words of a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlx_parity.compare import Verdict
from mlx_parity.findings import RunReport


def assert_parity(report: RunReport) -> None:
    """Fail unless a run passes; the message names the culprits."""
    from mlx_parity.report.culprits import MOST_EVIDENCE, headline

    if report.verdict is Verdict.PASS:
        return
    lines = [f"{report.verdict.value}"]
    for culprit in report.culprits:
        lines += [headline(culprit), *(f"    {line}" for line in culprit.evidence[:MOST_EVIDENCE])]
    lines += [f"not observed: {line}" for line in report.unobserved]
    pytest.fail("\n".join(lines), pytrace=False)


@pytest.fixture
def check_parity() -> Callable[..., RunReport]:
    """`mlx_parity.check`, which fails the test unless it passes; the report is returned."""
    from mlx_parity.port import check

    def checked(*args: Any, **kwargs: Any) -> RunReport:
        report = check(*args, **kwargs)
        assert_parity(report)
        return report

    return checked
