"""A run as Markdown, short enough for the summary of a CI job."""

from __future__ import annotations

import os
from typing import Any

from mlx_parity.compare import Verdict
from mlx_parity.findings import RunReport

MARKS = {Verdict.PASS: "pass", Verdict.DIVERGED: "**diverged**", Verdict.INCONCLUSIVE: "*inconclusive*"}


def summary(report: RunReport, result: dict[str, Any]) -> str:
    """The verdict, a line a stage, and the culprits.

    Args:
        report: the run.
        result: the same run as data, with `culprits` if they were looked for.
    """
    mode = f" ({report.mode})" if report.mode else ""
    lines = [f"## Parity: {MARKS[report.verdict]}{mode}", ""]
    lines += ["| stage | verdict | layers | worst error / floor | first wrong layer |", "|---|---|---:|---:|---|"]
    for stage in report.parts:
        rows = stage.layers + stage.outputs
        passed = sum(layer.verdict is Verdict.PASS for layer in rows)
        ratios = [layer.ratio for layer in rows if layer.difference is not None]
        worst = f"{max(ratios):.3g}" if ratios else "exact"
        wrong = stage.worst_layer
        first = f"`{wrong.path}`" if wrong is not None and wrong.verdict is not Verdict.PASS else ""
        lines.append(f"| {stage.title} | {MARKS[stage.verdict]} | {passed}/{len(rows)} | {worst} | {first} |")
    lines.append("")
    lines += [f"{line}\n" for stage in report.stages for line in report.lines(stage)[:1]]
    lines += [f"{line[:1].upper()}{line[1:]}\n" for line in report.notes()]
    for culprit in result.get("culprits", []):
        lines.append(f"- **`{culprit['module']}`** ({culprit['kind']}): {culprit['headline']}")
        lines.append(f"  - {culprit['evidence'][0]}")
    return "\n".join(lines).rstrip() + "\n"


def add_to_job(text: str) -> None:
    """Append a summary to that of the CI job that runs this, if it wants one."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
