"""The report as one HTML file that needs no network."""

from __future__ import annotations

import json
import math
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from mlx_parity.compare import FACTOR, Layer, Verdict
from mlx_parity.findings import StageReport
from parity.findings import RunReport
from parity.report.culprits import MOST_EVIDENCE, headline
from parity.report.data import write_text
from parity.report.figures import band_chart, depth_chart, mel_images, seam_chart, step_chart
from parity.report.measures import boundaries_of
from parity.stages.base import mode_title

SENTENCES = {
    Verdict.PASS: "MLX computes what PyTorch computes: every layer of every stage is within the noise of arithmetic.",
    Verdict.DIVERGED: "MLX and PyTorch part. Who is to blame is named below.",
    Verdict.INCONCLUSIVE: "Something could not be observed, so nothing is proved: see the layers marked inconclusive.",
}


def write_html(report: RunReport, result: dict[str, Any], path: Path) -> None:
    """Write the page.

    Args:
        report: the run, for its pictures.
        result: the same run as data (`parity.report.data.to_dict`), for its tables.
        path: of the HTML file; replaced as a whole.
    """
    template = Template((resources.files("parity.report") / "template.html").read_text(encoding="utf-8"))
    page = template.substitute(
        family=escape(report.family),
        verdict=report.verdict.value,
        sentence=escape(SENTENCES[report.verdict]),
        facts=_facts(result) + _quantization(report),
        pipeline="".join(_pipeline_step(part) for part in report.parts),
        culprits=_culprits(report, result),
        mels="".join(_mel(stage, result) for stage in report.stages),
        streaming="".join(_steps_and_seams(stage) for stage in report.stages),
        depths="".join(_depth(stage) for stage in report.stages),
        factor=f"{FACTOR:g}",
        rows=_rows(result),
    )
    write_text(path, page)


def _facts(result: dict[str, Any]) -> str:
    facts = {
        "checkpoint": result["checkpoint"],
        "model": result["model"],
        "mode": mode_title(result["settings"]["streaming"]),
        **result["versions"],
    }
    return "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(str(v))}</dd></div>" for k, v in facts.items() if v)


def _quantization(report: RunReport) -> str:
    return "".join(
        f"<div><dt>quantization drift</dt><dd>{escape(drift.summary())}</dd></div>" for drift in report.quantization
    )


def _pipeline_step(stage: StageReport) -> str:
    rows = stage.layers + stage.outputs
    passed = sum(layer.verdict is Verdict.PASS for layer in rows)
    ratios = [layer.ratio for layer in rows if layer.difference is not None]
    worst = f"worst {max(ratios):.2g} floors" if ratios else "exact"
    return (
        f'<li class="{stage.verdict.value}"><a href="#stage-{stage.name}"><strong>{escape(stage.title)}</strong>'
        f"<span>{stage.verdict.value}</span><small>{passed}/{len(rows)} layers, {worst}</small></a></li>"
    )


def _evidence(layer: Layer) -> str:
    if layer.difference is None:
        return escape(layer.reason)
    d = layer.difference
    return (
        f"error is {layer.ratio:.3g} noise floors; max abs {d.max_abs:.3g}, relative RMS {d.relative_rms:.3g}, "
        f"SNR {d.snr_db:.1f} dB; mean {d.mean:.4g} against {d.mean_reference:.4g}, "
        f"std {d.std:.4g} against {d.std_reference:.4g}"
    )


def _card(verdict: Verdict, title: str, lines: list[str], command: str) -> str:
    shown = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return (
        f'<section class="card {verdict.value}"><h3>{escape(title)}</h3><ul>{shown}</ul>'
        f"<p>See it again: <code>{escape(command)}</code></p></section>"
    )


def _command(name: str, stage: str, result: dict[str, Any]) -> str:
    streaming = result["settings"]["streaming"]
    mode = f" --streaming {streaming}" if streaming else ""
    if name == "localise" and result.get("fault"):
        mode += f" --fault {result['fault']}"
    return (
        f"python -m parity {name} --checkpoint {result['checkpoint']} --model {result['model']} --stages {stage}{mode}"
    )


def _culprits(report: RunReport, result: dict[str, Any]) -> str:
    """A card for every culprit, and for the first layer of a stage that is inconclusive."""
    cards = []
    blamed = set()
    for culprit in report.culprits:
        blamed.add(culprit.stage)
        evidence = [f"kind: {culprit.kind}", *culprit.evidence[:MOST_EVIDENCE]]
        cards.append(_card(Verdict.DIVERGED, headline(culprit), evidence, _command("localise", culprit.stage, result)))
    for stage in report.parts:
        layer = stage.worst_layer
        if stage.verdict is Verdict.PASS or stage.culprits or stage.name in blamed or layer is None:
            continue
        title = f"{stage.title}: first wrong layer is {layer.path} ({layer.type})"
        cards.append(_card(stage.verdict, title, [_evidence(layer)], _command("run", stage.name, result)))
    return "".join(cards)


def _mel(stage: StageReport, result: dict[str, Any]) -> str:
    data = result["stages"][stage.name].get("mel")
    if not data:
        return ""
    figures = "".join(
        f'<figure><figcaption>{escape(title)} <small>{escape(span)}</small></figcaption><img src="{url}" '
        f'alt="mel spectrogram: {escape(title)}"></figure>'
        for title, (url, span) in mel_images(*stage.arrays["mel"]).items()
    )
    rows = "".join(
        f"<tr><th>{name}</th>" + "".join(f"<td>{data[side][name]:.4f}</td>" for side in ("reference", "mlx")) + "</tr>"
        for name in ("mean", "std", "min", "max", "range")
    )
    return (
        f'<h2>Mel of the {escape(stage.title.lower())}</h2><div class="mels">{figures}</div>'
        f'<div class="two"><table class="plain"><tr><th></th><th>reference</th><th>MLX</th></tr>{rows}</table>'
        f"<div><h3>Bias of every band</h3>{band_chart(data['band_bias'])}</div></div>"
    )


def _steps_and_seams(stage: StageReport) -> str:
    """Where the error stands after every Euler step and, when streaming, at every chunk boundary."""
    figures = []
    errors = stage.measures.get("euler_step_error")
    if errors:
        chart = step_chart([float(error) for error in errors])
        figures.append(f"<figure><figcaption>Error at every Euler step</figcaption>{chart}</figure>")
    seams = stage.measures.get("streaming")
    unit, boundaries = boundaries_of(seams) if seams else ("", [])
    if seams and boundaries:
        errors, elsewhere = [float(error) for error in seams["seam_error"]], float(seams["elsewhere_error"])
        chart = seam_chart(boundaries, errors, elsewhere, unit)
        figures.append(
            "<figure><figcaption>Error at the seams <small>streamed chunk by chunk against the reference; dashed: away "
            f"from the seams</small></figcaption>{chart}</figure>"
        )
    return f'<div class="depths">{"".join(figures)}</div>' if figures else ""


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
