"""A run on the terminal: every layer, then one line a stage, then the verdict."""

from __future__ import annotations

import math
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlx_parity.compare import Layer, Verdict
from mlx_parity.findings import RunReport

#: How many wrong layers of a stage are printed where only those are asked for; the report has them all.
MOST_FAILED = 20

STYLE = {Verdict.PASS: "green", Verdict.DIVERGED: "bold red", Verdict.INCONCLUSIVE: "yellow"}


def make_console() -> Console:
    """The terminal's own width; output that goes to a file or a CI log is not squeezed into 80 columns."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def new_table(*names: str, title: str | None = None, wrap: bool = False) -> Table:
    """A table without lines.

    Args:
        names: of its columns: what begins with ">" has numbers, to the right, and "<" words; neither takes two lines.
        title: above it.
        wrap: numbers may take two lines.
    """
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name in names:
        whole = name[:1] == "<" or (name[:1] == ">" and not wrap)
        side: Literal["left", "right"] = "right" if name[:1] == ">" else "left"
        table.add_column(name.lstrip("<>"), justify=side, no_wrap=whole, overflow="fold")
    return table


def _verdict(verdict: Verdict) -> str:
    return f"[{STYLE[verdict]}]{verdict.value.upper()}[/]"


def _number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}g}"


def layer_table(title: str, layers: list[Layer], port: str = "port") -> Table:
    """All that is known of these layers, a row each; `port` is what the side is called that is judged."""
    names = (
        "",
        "err/floor",
        "max abs",
        "rel RMS",
        "SNR dB",
        "cosine",
        "NaN/Inf",
        f"mean {port}/ref",
        f"std {port}/ref",
    )
    table = new_table("layer", *(f">{name}" for name in names), title=title)
    for layer in layers:
        d, numbers = layer.difference, [escape(layer.reason)]
        if d is not None:
            numbers = [_number(value) for value in (layer.ratio, d.max_abs, d.relative_rms)]
            numbers += [_number(d.snr_db, 4), f"{d.cosine:.7f}", f"{d.nonfinite}/{d.nonfinite_reference}"]
            moments = (d.mean, d.mean_reference), (d.std, d.std_reference)
            numbers += [f"{_number(mine)} / {_number(right)}" for mine, right in moments]
        table.add_row(escape(layer.path), _verdict(layer.verdict), *numbers)
    return table


def says_more(layer: Layer) -> bool:
    """Whether there is more to print of it than that it passes, as of a tensor that equals the official one."""
    return layer.verdict is not Verdict.PASS or layer.difference is not None or bool(layer.reason)


def stage_table(report: RunReport) -> Table:
    """One line a stage."""
    seconds = (f">{name} s" for name in report.names)
    table = new_table("<stage", "<verdict", ">dtype", ">layers", ">err/floor", ">SNR dB", *seconds, "worst layer")
    for stage in report.parts:
        passed, ratio = stage.tally
        snr = [layer.difference.snr_db for layer in stage.outputs if layer.difference is not None]
        worst = stage.worst_layer
        table.add_row(
            stage.title,
            _verdict(stage.verdict),
            stage.dtype,
            passed,
            "exact" if ratio is None else _number(ratio),
            _number(min(snr), 4) if snr else "-",
            f"{stage.seconds_reference:.2f}",
            f"{stage.seconds_model:.2f}",
            escape(worst.path) if worst and worst.difference is not None else "",
        )
    return table


def print_report(report: RunReport, console: Console, layers: str = "all") -> None:
    """Print the run. `layers`: "all", "failed" or "none" says which layers get a row of their own."""
    for stage in report.parts:
        rows = [row for row in stage.layers + stage.outputs if says_more(row)]
        if layers == "failed":
            failed = [layer for layer in rows if layer.verdict is not Verdict.PASS]
            rows = failed[:MOST_FAILED]
            if len(failed) > len(rows):
                console.print(f"\n{stage.title}: the first {len(rows)} of {len(failed)} wrong layers")
        if rows and layers != "none":
            console.print(layer_table(f"\n{stage.title} ({stage.dtype})", rows, report.names[1]))
            for path, reason in stage.exempt.items():
                console.print(f"{path}: left out of the port on purpose ({reason})")
    console.print()
    console.print(stage_table(report))
    for stage in report.stages:
        for line in report.lines(stage):
            console.print(line)
        if stage.unpaired:
            console.print(
                f"{stage.title}: {len(stage.unpaired)} modules have no twin, and were judged as parts of others"
            )
    for stage in report.parts:
        layer = stage.worst_layer
        if stage.verdict is not Verdict.PASS and layer is not None:
            found = layer.reason
            if not found and layer.difference:
                found = f"{_number(layer.ratio)} noise floors off, max abs {_number(layer.difference.max_abs)}"
            console.print(f"{stage.title}: first wrong layer is [bold]{escape(layer.path)}[/] ({escape(found)})")
    for line in report.notes():
        console.print(line)
    console.print(f"\nverdict: {_verdict(report.verdict)}")
