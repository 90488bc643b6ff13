"""The report as one HTML file, with what there is to see of speech."""

from __future__ import annotations

from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mlx_cosyvoice.audio import mel_spectrogram
from mlx_parity.findings import StageReport
from mlx_parity.report import html
from parity.findings import RunReport
from parity.heard import Heard
from parity.report.figures import band_chart, mel_images, seam_chart, step_chart, wave_chart
from parity.report.measures import boundaries_of
from parity.stages.features import SHORTEST


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
        first=_heard(report.heard) if isinstance(report.heard, Heard) else "",
    )


def _command(result: dict[str, Any], name: str, stage: str) -> str:
    streaming = result["settings"]["streaming"]
    mode = f" --streaming {streaming}" if streaming else ""
    if name == "localise" and result.get("fault"):
        mode += f" --fault {result['fault']}"
    return (
        f"python -m parity {name} --checkpoint {result['checkpoint']} --model {result['model']} --stages {stage}{mode}"
    )


def _heard(heard: Heard) -> str:
    """Waveform, mel and words of what both sides said, and its likeness to the voice that was cloned."""
    rows = "".join(
        f"<tr><th>{name}</th><td>{escape('-' if side.heard is None else side.heard)}</td>"
        f"<td>{'-' if side.word_errors is None else side.word_errors}</td><td>{side.similarity:.3f}</td></tr>"
        for name, side in heard.sides.items()
    )
    waves = [np.nan_to_num(side.wave) for side in heard.sides.values()]
    charts = "".join(
        f"<figure><figcaption>{name} <small>{len(wave) / heard.rate:.2f} s</small></figcaption>{wave_chart(wave)}"
        "</figure>"
        for name, wave in zip(heard.sides, waves, strict=True)
    )
    alike = len(waves[0]) == len(waves[1]) > SHORTEST["prompt_mel"]
    figures = _figures(*(np.array(mel_spectrogram(wave)).swapaxes(1, 2) for wave in waves)) if alike else ""
    return (
        f"<h2>What was said: {escape(heard.said)}</h2>"
        f'<table class="plain"><tr><th></th><th>heard</th><th>words wrong</th><th>likeness of the voice</th></tr>{rows}'
        f'</table><p class="note">{escape(heard.remark)}</p><div class="depths">{charts}</div>'
        f'<div class="mels">{figures}</div>'
    )


def _figures(actual: np.ndarray, expected: np.ndarray) -> str:
    """Two mels [1, 80, T] and their difference."""
    return "".join(
        f'<figure><figcaption>{escape(title)} <small>{escape(span)}</small></figcaption><img src="{url}" '
        f'alt="mel spectrogram: {escape(title)}"></figure>'
        for title, (url, span) in mel_images(actual, expected).items()
    )


def _mel(result: dict[str, Any], stage: StageReport) -> str:
    data = result["stages"][stage.name].get("mel")
    if not data:
        return ""
    rows = "".join(
        f"<tr><th>{name}</th>" + "".join(f"<td>{data[side][name]:.4f}</td>" for side in ("reference", "mlx")) + "</tr>"
        for name in ("mean", "std", "min", "max", "range")
    )
    return (
        f'<h2>Mel of the {escape(stage.title.lower())}</h2><div class="mels">{_figures(*stage.arrays["mel"])}</div>'
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
