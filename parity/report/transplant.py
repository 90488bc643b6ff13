"""The transplant matrix on the terminal and as plain data."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from mlx_parity.compare import Difference, Verdict
from mlx_parity.report.terminal import STYLE, new_table
from parity.transplant.matrix import FINAL, TransplantReport
from parity.transplant.parts import PARTS

SCHEMA_VERSION = 1

WORDS = {"mel": "mel", "wav": "wave"}

TITLE = """Final error against the pure reference: relative RMS (SNR in dB)
  alone: the reference's pipeline with this part from MLX
  without: the MLX pipeline with this part from the reference
  share: of the squared errors of these parts alone
"""


def to_dict(report: TransplantReport, *, checkpoint: str = "", model: str = "") -> dict[str, Any]:
    """The whole matrix; every difference is against the pure reference."""

    def both(differences: dict[str, Difference]) -> dict[str, Any]:
        return {name: differences[name].to_dict() for name in FINAL}

    responsible = {name: report.responsible(name) for name in FINAL}
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": report.verdict.value,
        "checkpoint": checkpoint,
        "model": model,
        "settings": vars(report.settings),
        "responsible": {name: row.part if row else None for name, row in responsible.items()},
        "final": {name: layer.to_dict() for name, layer in report.final.items()},
        "all_mlx": both(report.all_mlx),
        "parts": {
            row.part: {
                "title": row.title,
                "stage": row.stage,
                "reference_with_this_from_mlx": both(row.alone),
                "mlx_with_this_from_reference": both(row.without),
                "share": row.share,
            }
            for row in report.rows
        },
    }


def print_report(report: TransplantReport, console: Console) -> None:
    """Print the matrix, who is to blame, and the verdict."""
    console.print(_table(report))
    for name in FINAL:
        console.print(_sentence(report, name))
    console.print(f"\nverdict: [{STYLE[report.verdict]}]{report.verdict.value.upper()}[/]")


def _table(report: TransplantReport) -> Table:
    names = (f">{what}: {WORDS[name]}" for what in ("alone", "without", "share") for name in FINAL)
    table = new_table("<part", *names, title=TITLE, wrap=True)
    table.add_row("all parts", *(_cell(report.all_mlx[name]) for name in FINAL))
    for row in report.rows:
        cells = [_cell(side[name]) for side in (row.alone, row.without) for name in FINAL]
        table.add_row(row.title, *cells, *(f"{row.share[name]:.1%}" for name in FINAL))
    return table


def _cell(difference: Difference) -> str:
    if not difference.relative_rms:
        return "equal"
    return f"{difference.relative_rms:.3g} ({difference.snr_db:.1f})"


def _sentence(report: TransplantReport, name: str) -> str:
    word, layer, row = WORDS[name], report.final[name], report.responsible(name)
    rounding = ", which is rounding" if layer.verdict is Verdict.PASS else ""
    size = f"{layer.reason or f'{layer.ratio:.3g} noise floors'}{rounding}"
    if row is None:
        return f"{word}: off by {size}; no part that was swapped causes it"
    whole = "it" if len(report.rows) == len(PARTS) else "what the swapped parts cause"
    left, right = row.without[name].relative_rms, report.all_mlx[name].relative_rms
    return (
        f"{word}: off by {size}; [bold]{row.title}[/] causes {row.share[name]:.1%} of {whole}: "
        f"with that part from the reference the error is {left:.3g} instead of {right:.3g}"
    )
