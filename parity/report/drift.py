"""Drift by dtype on the terminal, and as plain data."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from mlx_parity.compare import as_json
from mlx_parity.report.terminal import new_table
from parity.drift.measure import GroupDrift, StageDrift
from parity.drift.ranking import DriftReport
from parity.drift.rounding import BITS

#: Raised when a key of the JSON changes its meaning or goes away.
SCHEMA_VERSION = 1

#: Rows printed of each ranking; the JSON has them all.
ROWS = 12

#: Exceptions that gain less are said to be hardly worth it.
WORTH_DB = 1.0

OUTPUTS = {"log_probs": "log-probabilities", "mel": "mel", "wav": "wave"}

SIMULATED = (
    "Simulated on the float32 MLX model: float16 and bfloat16 round weights and activations and sum in float32; "
    "q8 and q4 quantize the weights of the language model's Linear and Embedding layers, activations and the "
    "other networks stay float32. Each network runs on the reference's float32 inputs."
)


def ranking_table(stage: StageDrift, rows: int = ROWS) -> Table:
    """The groups that cost most. A share with a tilde is an estimate."""
    title = f"\n{stage.title} in {stage.precision.name}: what the error of the {OUTPUTS[stage.output]} comes from"
    names = (">", "layers", ">dtype", ">own error", ">final error alone", ">share of final")
    table = new_table(*names, title=title)
    for rank, group in enumerate(stage.groups[:rows], 1):
        name = f"[bold]{group.path}[/]" if group.path in stage.exceptions else group.path
        alone, estimate = ("", "~") if group.alone is None else (f"{group.alone:.3g}", "")
        share = f"{estimate}{100 * group.share:.1f} %"
        table.add_row(str(rank), name, stage.precision.name, f"{group.own:.3g}", alone, share)
    return table


def final_table(report: DriftReport) -> Table:
    """The final errors without and with the exceptions."""
    errors = (">all rounded: rel RMS", ">SNR dB", ">exceptions kept: rel RMS", ">SNR dB")
    names = ("<output", "<dtype", *errors, ">exceptions", ">float32 vs reference")
    table = new_table(*names, title="\nFinal error", wrap=True)
    for stage in report.stages:
        both = (stage.final, stage.kept)
        numbers = (text for one in both for text in (f"{one.relative_rms:.3g}", f"{one.snr_db:.1f}"))
        count, baseline = f"{len(stage.exceptions)} of {len(stage.groups)}", f"{stage.baseline.relative_rms:.3g}"
        table.add_row(OUTPUTS[stage.output], stage.precision.name, *numbers, count, baseline)
    return table


def print_drift(report: DriftReport, console: Console, rows: int = ROWS) -> None:
    """Rankings, proposals, and the final errors."""
    console.print(SIMULATED)
    for stage in report.stages:
        console.print(ranking_table(stage, rows))
        left = len(stage.groups) - rows
        if left > 0:
            rest = sum(abs(group.share) for group in stage.groups[rows:])
            console.print(f"and {left} more with {100 * rest:.1f} % together (all in the JSON)")
        if stage.explained is not None:
            console.print(f"estimated shares add up to {100 * stage.explained:.1f} %")
        if stage.precision.quantized:
            console.print(_quantized(stage))
        if stage.note:
            console.print(stage.note, style="yellow")
        console.print(_proposal(stage), soft_wrap=True)
    console.print(final_table(report))


def _proposal(stage: StageDrift) -> str:
    if not stage.exceptions:
        return "proposed exceptions: none, no group of layers stands out"
    text = f"proposed exceptions: [bold]{','.join(stage.exceptions)}[/]"
    gain = stage.kept.snr_db - stage.final.snr_db
    if gain < WORTH_DB:
        text += f"\nthese gain {gain:.1f} dB only: the error is spread over many layers"
    return text


def _quantized(stage: StageDrift) -> str:
    total = len(stage.quantized) + len(stage.not_quantized)
    text = f"quantized: {len(stage.quantized)} of {total} Linear and Embedding layers, "
    text += f"group size {stage.precision.group_size}"
    if stage.not_quantized:
        few = ", ".join(stage.not_quantized[:4]) + (" ..." if len(stage.not_quantized) > 4 else "")
        text += f"; width does not divide: {few}"
    return text


def to_dict(report: DriftReport, *, checkpoint: str = "", model: str = "") -> dict[str, Any]:
    """The whole report as plain data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "checkpoint": checkpoint,
        "model": model,
        "settings": vars(report.settings),
        "method": SIMULATED,
        "drift": [_stage(stage) for stage in report.stages],
    }


def _stage(stage: StageDrift) -> dict[str, Any]:
    data: dict[str, Any] = {
        "stage": stage.stage,
        "output": stage.output,
        "dtype": stage.precision.name,
        "final": stage.final.to_dict(),
        "final_with_exceptions": stage.kept.to_dict(),
        "float32_against_reference": stage.baseline.to_dict(),
        "exceptions": stage.exceptions,
        "estimated_shares_sum": stage.explained,
        "groups": [_group(rank, group) for rank, group in enumerate(stage.groups, 1)],
    }
    if stage.precision.quantized:
        data["group_size"] = stage.precision.group_size
        data |= {"quantized": stage.quantized, "not_quantized": stage.not_quantized}
    if stage.note:
        data["note"] = stage.note
    return data


def _group(rank: int, group: GroupDrift) -> dict[str, Any]:
    row = {"rank": rank, "path": group.path, "own_error": as_json(group.own), "share": as_json(group.share)}
    row["verified"] = group.alone is not None
    if group.alone is not None:
        row["final_error_alone"] = as_json(group.alone)
    return row


def recipe(report: DriftReport) -> dict[str, Any]:
    """What `python -m converters --recipe` reads: the precision, and the layers to keep in float32.

    Raises:
        ValueError: the report has several precisions.
    """
    precisions = {stage.precision for stage in report.stages}
    if len(precisions) != 1:
        raise ValueError("a recipe is for one precision")
    (precision,) = precisions
    keep = [path for stage in report.stages for path in stage.exceptions]
    if precision.quantized:
        return {"quantize": BITS[precision.name], "group_size": precision.group_size, "keep": keep}
    return {"dtype": precision.name, "keep": keep}
