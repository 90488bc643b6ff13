"""What `localise` found, on the terminal and as plain data."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.markup import escape

from mlx_parity.findings import Culprit, RunReport
from mlx_parity.report.terminal import STYLE

#: Raised when a key of the findings changes its meaning or goes away.
SCHEMA_VERSION = 1

#: How many findings about one culprit, and how many unobserved places, are printed; the JSON has them all.
MOST_EVIDENCE, MOST_UNOBSERVED = 3, 5

WORDS = {
    "config": "not what the checkpoint or the official code says",
    "tokenizer": "not what the official tokenizer has",
    "weights": "a parameter differs from the official one",
    "leaf": "wrong by itself, on the right input",
    "glue": "its parts are right, what it does between them is not",
}


def headline(culprit: Culprit) -> str:
    """One line: which module, and of which module it gets an argument wrong."""
    if culprit.place != culprit.module:
        what = f"argument `{culprit.argument}`" if culprit.argument != "input" else "the input"
        return f"{culprit.module} passes a wrong value as {what} of {culprit.place}"
    return f"{culprit.module} ({culprit.kind}): {WORDS[culprit.kind]}"


def alike(culprits: list[Culprit]) -> list[list[Culprit]]:
    """Culprits whose names differ in numbers only, as those of a layer in every block do, in groups."""
    groups: dict[tuple[str, ...], list[Culprit]] = {}
    for culprit in culprits:
        names = (culprit.stage, culprit.kind, culprit.module, culprit.place, culprit.argument)
        groups.setdefault(tuple(re.sub(r"\d+", "*", name) for name in names), []).append(culprit)
    return list(groups.values())


def print_culprits(report: RunReport, console: Console) -> None:
    """The verdict first, then every culprit in data-flow order, then what their stages make of it."""
    mode = f" ({report.mode})" if report.mode else ""
    count = f"{len(report.culprits)} culprit{'' if len(report.culprits) == 1 else 's'}"
    console.print(f"verdict: [{STYLE[report.verdict]}]{report.verdict.value.upper()}[/], {count}{mode}")
    titles = {stage.name: stage.title for stage in report.stages}
    groups = alike(report.culprits)
    for number, group in enumerate(groups, start=1):
        culprit = group[0]
        console.print(f"\n{number}. [bold]{escape(headline(culprit))}[/]")
        console.print(f"   {titles[culprit.stage]}, {culprit.kind}")
        for line in culprit.evidence[:MOST_EVIDENCE]:
            console.print(f"   - {escape(line)}")
        if len(culprit.evidence) > MOST_EVIDENCE:
            console.print(f"   - and {len(culprit.evidence) - MOST_EVIDENCE} more")
        if culprit.cause:
            console.print(f"   probable cause: [bold]{escape(culprit.cause)}[/]")
        if len(group) > 1:
            others = ", ".join(other.module for other in group[1 : 1 + MOST_EVIDENCE])
            more = f" and {len(group) - 1 - MOST_EVIDENCE} more" if len(group) > 1 + MOST_EVIDENCE else ""
            console.print(f"   the same in {escape(others)}{more}")
        if all(other[0].stage != culprit.stage for other in groups[number:]):
            stage = next(stage for stage in report.stages if stage.name == culprit.stage)
            for line in report.lines(stage):
                console.print(f"   {line}")
    for line in report.unobserved[:MOST_UNOBSERVED]:
        console.print(f"[yellow]not observed[/]: {escape(line)}")
    if len(report.unobserved) > MOST_UNOBSERVED:
        console.print(f"and {len(report.unobserved) - MOST_UNOBSERVED} more were not observed")


def culprit_to_dict(culprit: Culprit) -> dict[str, Any]:
    names = ("module", "kind", "stage", "place", "argument", "evidence", "cause")
    layer = culprit.layer.to_dict() if culprit.layer else None
    return {name: getattr(culprit, name) for name in names} | {"headline": headline(culprit), "layer": layer}


def to_dict(report: RunReport) -> dict[str, Any]:
    """The findings as plain data for JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": report.verdict.value,
        **report.asked(),
        "culprits": [culprit_to_dict(culprit) for culprit in report.culprits],
        "measures": {stage.name: stage.measures for stage in report.stages if stage.culprits},
        "unobserved": report.unobserved,
        "layers": {stage.name: {layer.path: layer.to_dict() for layer in stage.isolated} for stage in report.stages},
    }
