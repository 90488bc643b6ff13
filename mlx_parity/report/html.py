"""The report as one HTML file that needs no network."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from mlx_parity.compare import FACTOR, Verdict
from mlx_parity.findings import RunReport, StageReport
from mlx_parity.report.culprits import MOST_EVIDENCE, headline
from mlx_parity.report.data import write_text
from mlx_parity.report.figures import depth_chart

SENTENCES = {
    Verdict.PASS: "{1} computes what {0} computes: every layer of every stage is within the noise of arithmetic.",
    Verdict.DIVERGED: "{1} and {0} part. Who is to blame is named below.",
    Verdict.INCONCLUSIVE: "Something could not be observed, so nothing is proved: see the layers marked inconclusive.",
}


def write_html(
    report: RunReport,
    result: dict[str, Any],
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    command: Callable[[str, str], str],
    pictures: Sequence[Callable[[StageReport], str]] = (),
    first: str = "",
) -> None:
    """Write the page.

    Args:
        report: the run, for its pictures.
        result: the same run as data (`mlx_parity.report.data.to_dict`), for its tables.
        path: of the HTML file; replaced as a whole.
        title: of the page.
        facts: what was compared, by name.
        command: (run or localise, a stage's name) -> how to see it again.
        pictures: each makes what is shown of a stage beside its layers, as HTML, or nothing.
        first: HTML of the whole run, shown before the pictures of its stages.
    """
    template = Template((resources.files("mlx_parity.report") / "template.html").read_text(encoding="utf-8"))
    shown = {**facts, **({"mode": report.mode} if report.mode else {}), **result["versions"]}
    sentence = SENTENCES[report.verdict].format(*report.names)
    page = template.substitute(
        title=escape(title),
        sides=escape("{1} against {0}".format(*report.names)),
        verdict=report.verdict.value,
        sentence=escape(sentence[:1].upper() + sentence[1:]),
        facts="".join(f"<div><dt>{escape(k)}</dt><dd>{escape(str(v))}</dd></div>" for k, v in shown.items() if v),
        pipeline="".join(_pipeline_step(part) for part in report.parts),
        culprits=_culprits(report, command),
        pictures=first + "".join(picture(stage) for picture in pictures for stage in report.stages),
        depths="".join(_depth(stage) for stage in report.stages),
        factor=f"{FACTOR:g}",
        rows=_rows(result),
    )
    write_text(path, page)


def _pipeline_step(stage: StageReport) -> str:
    passed, ratio = stage.tally
    worst = "exact" if ratio is None else f"worst {ratio:.2g} floors"
    return (
        f'<li class="{stage.verdict.value}"><a href="#stage-{stage.name}"><strong>{escape(stage.title)}</strong>'
        f"<span>{stage.verdict.value}</span><small>{passed} layers, {worst}</small></a></li>"
    )


def _card(verdict: Verdict, title: str, lines: list[str], command: str) -> str:
    shown = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return (
        f'<section class="card {verdict.value}"><h3>{escape(title)}</h3><ul>{shown}</ul>'
        f"<p>See it again: <code>{escape(command)}</code></p></section>"
    )


def _culprits(report: RunReport, command: Callable[[str, str], str]) -> str:
    """A card for every culprit, and for the first layer of a stage that is inconclusive."""
    cards = []
    blamed = set()
    for culprit in report.culprits:
        blamed.add(culprit.stage)
        evidence = [f"kind: {culprit.kind}", *culprit.evidence[:MOST_EVIDENCE]]
        evidence += [f"probable cause: {culprit.cause}"] if culprit.cause else []
        cards.append(_card(Verdict.DIVERGED, headline(culprit), evidence, command("localise", culprit.stage)))
    for stage in report.parts:
        layer = stage.worst_layer
        if stage.verdict is Verdict.PASS or stage.culprits or stage.name in blamed or layer is None:
            continue
        title = f"{stage.title}: first wrong layer is {layer.path} ({layer.type})"
        cards.append(_card(stage.verdict, title, [layer.words], command("run", stage.name)))
    return "".join(cards)


def _depth(stage: StageReport) -> str:
    layers = [layer for layer in stage.layers if layer.difference is not None]
    if len(layers) < 2:
        return ""
    chart = depth_chart(layers, {layer.path: layer for layer in stage.isolated}, FACTOR)
    return f'<figure id="stage-{stage.name}"><figcaption>{escape(stage.title)}</figcaption>{chart}</figure>'


def _rows(result: dict[str, Any]) -> str:
    """The layer table's data, safe inside a script element."""
    keys = (
        *("error_over_floor", "max_abs", "relative_rms", "snr_db", "cosine", "mean", "mean_reference", "std"),
        *("std_reference", "nonfinite", "error", "floor"),
    )
    rows = []
    for stage in result["stages"].values():
        for path, layer in {**stage["layers"], **stage["outputs"]}.items():
            values = [_short(layer.get(key)) for key in keys]
            shape = "x".join(map(str, layer.get("shape", [])))
            rows.append(
                [stage["title"], path, layer["type"], layer["verdict"], shape, layer.get("reason", ""), *values]
            )
    return json.dumps(rows, separators=(",", ":")).replace("<", "\\u003c")


def _short(value: Any) -> Any:
    """Seven significant digits are all that float32 has."""
    return float(f"{value:.7g}") if isinstance(value, float) and math.isfinite(value) else value
