"""What `localise` found, on the terminal and as plain data."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from parity.localization import LocaliseReport
from parity.localization.blame import Culprit
from parity.report.measures import measures_line
from parity.report.terminal import STYLE, mel_line
from parity.stages import STAGES
from parity.stages.base import mode_title

#: Raised when a key of the findings changes its meaning or goes away.
SCHEMA_VERSION = 1

#: How many findings about one culprit, and how many unobserved places, are printed; the JSON has them all.
MOST_EVIDENCE, MOST_UNOBSERVED = 3, 5

WORDS = {
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


def print_culprits(report: LocaliseReport, console: Console) -> None:
    """The verdict first, then every culprit in data-flow order, then what their stages make of it."""
    mode = mode_title(report.settings.streaming)
    count = f"{len(report.culprits)} culprit{'' if len(report.culprits) == 1 else 's'}"
    console.print(f"verdict: [{STYLE[report.verdict]}]{report.verdict.value.upper()}[/], {count} ({mode})")
    titles = {stage.name: stage.title for stage in STAGES}
    for number, culprit in enumerate(report.culprits, start=1):
        console.print(f"\n{number}. [bold]{escape(headline(culprit))}[/]", highlight=False)
        console.print(f"   {titles[culprit.stage]}, {culprit.kind}", highlight=False)
        for line in culprit.evidence[:MOST_EVIDENCE]:
            console.print(f"   - {escape(line)}", highlight=False)
        if len(culprit.evidence) > MOST_EVIDENCE:
            console.print(f"   - and {len(culprit.evidence) - MOST_EVIDENCE} more", highlight=False)
        if [other.stage for other in report.culprits[number:]].count(culprit.stage) == 0:
            stage = report.free.get(culprit.stage)
            for line in filter(None, (mel_line(stage), measures_line(stage)) if stage else ()):
                console.print(f"   {line}", highlight=False)
    for line in report.unobserved[:MOST_UNOBSERVED]:
        console.print(f"[yellow]not observed[/]: {escape(line)}", highlight=False)
    if len(report.unobserved) > MOST_UNOBSERVED:
        console.print(f"and {len(report.unobserved) - MOST_UNOBSERVED} more were not observed")


def to_dict(report: LocaliseReport) -> dict[str, Any]:
    """The findings as plain data for JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": report.verdict.value,
        "streaming": report.settings.streaming,
        "culprits": [
            {
                "module": culprit.module,
                "kind": culprit.kind,
                "stage": culprit.stage,
                "place": culprit.place,
                "argument": culprit.argument,
                "headline": headline(culprit),
                "evidence": culprit.evidence,
                "layer": culprit.layer.to_dict() if culprit.layer else None,
            }
            for culprit in report.culprits
        ],
        "measures": {name: stage.measures for name, stage in report.free.items()},
        "unobserved": report.unobserved,
        "layers": {stage: {layer.path: layer.to_dict() for layer in layers} for stage, layers in report.layers.items()},
    }
