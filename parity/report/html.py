"""The report as one HTML file, with what there is to see of speech."""

from __future__ import annotations

from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from mlx_parity.findings import StageReport
from mlx_parity.report import html
from parity.findings import RunReport
from parity.report.figures import band_chart, mel_images, seam_chart, step_chart
from parity.report.measures import boundaries_of


def write_html(report: RunReport, result: dict[str, Any], path: Path) -> None:
    """Write the page; `result` is the run as data (`parity.report.data.to_dict`)."""
    facts = {"checkpoint": result["checkpoint"], "model": result["model"]}
    facts |= {f"quantization drift of {drift.component}": drift.summary() for drift in report.quantization}
    html.write_html(
        report,
        result,
        path,
        title=f"{report.family} parity",
        facts=facts,
        command=partial(_command, result),
        pictures=(partial(_mel, result), _steps_and_seams),
    )


def _command(result: dict[str, Any], name: str, stage: str) -> str:
    streaming = result["settings"]["streaming"]
    mode = f" --streaming {streaming}" if streaming else ""
    if name == "localise" and result.get("fault"):
        mode += f" --fault {result['fault']}"
    return (
        f"python -m parity {name} --checkpoint {result['checkpoint']} --model {result['model']} --stages {stage}{mode}"
    )


def _mel(result: dict[str, Any], stage: StageReport) -> str:
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
