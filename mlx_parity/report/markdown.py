"""A run as Markdown, short enough for the summary of a CI job."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlx_parity.compare import Verdict
from mlx_parity.findings import RunReport
from mlx_parity.report.data import write_json, write_text

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
        passed, ratio = stage.tally
        worst = "exact" if ratio is None else f"{ratio:.3g}"
        wrong = stage.worst_layer
        first = f"`{wrong.path}`" if wrong is not None and wrong.verdict is not Verdict.PASS else ""
        lines.append(f"| {stage.title} | {MARKS[stage.verdict]} | {passed} | {worst} | {first} |")
    lines.append("")
    lines += [f"{line}\n" for stage in report.stages for line in report.lines(stage)[:1]]
    lines += [f"{line[:1].upper()}{line[1:]}\n" for line in report.notes()]
    for culprit in result.get("culprits", []):
        lines.append(f"- **`{culprit['module']}`** ({culprit['kind']}): {culprit['headline']}")
        lines.append(f"  - {culprit['evidence'][0]}")
    return "\n".join(lines).rstrip() + "\n"


def write_outputs(
    report: RunReport, result: dict[str, Any], arguments: Namespace, page: Callable[[Path], None]
) -> Iterator[Path]:
    """Write what `--report` (by `page`), `--json` and `--markdown` ask for, and the summary of a CI job that wants one.

    Returns:
        The files written, for people.
    """
    text = summary(report, result)
    if arguments.report:
        page(arguments.report)
        yield arguments.report / "report.html"
    if arguments.json:
        write_json(result, arguments.json)
        yield arguments.json
    if getattr(arguments, "markdown", None):
        write_text(arguments.markdown, text)
        yield arguments.markdown
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
