"""The options of the incremental flow's state on the terminal."""

from __future__ import annotations

from rich.console import Console

from mlx_parity.report.terminal import new_table
from parity.drift.streaming_state import OptionReport, OptionsReport

MEGABYTE = 1e6


def print_options(report: OptionsReport, console: Console) -> None:
    """A row an option, and the error of every chunk under it."""
    names = (">max abs", ">worst chunk", ">RMS", ">RMS / std", ">state MB: voice", ">largest")
    table = new_table("<option", *names, title="\nIncremental flow: error of the mel, and state")
    for option in (report.exact, *report.options):
        name = "exact" if option is report.exact else str(option.option)
        table.add_row(name, *_numbers(option, report.mel_std))
    console.print(table)
    console.print(
        f"\nThe exact one differs from one run over everything by {max(report.whole_max_abs):.2g} at most; the mel's "
        f"standard deviation is {report.mel_std:.3g}."
    )
    for option in report.options:
        errors = "  ".join(f"{error:.2g}" for error in option.max_abs)
        console.print(f"{option.option}, max abs chunk by chunk: {errors}")


def _numbers(option: OptionReport, std: float) -> list[str]:
    worst = max(option.max_abs)
    rms = (sum(error**2 for error in option.rms) / len(option.rms)) ** 0.5
    return [
        f"{worst:.3g}",
        str(option.max_abs.index(worst) + 1),
        f"{rms:.3g}",
        f"{rms / std:.2g}",
        f"{option.state_bytes[0] / MEGABYTE:.0f}",
        f"{max(option.state_bytes) / MEGABYTE:.0f}",
    ]
