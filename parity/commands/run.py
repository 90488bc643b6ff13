"""`python -m parity run`: compare every stage, layer by layer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("run", help="compare every stage, layer by layer")
    add_pair_arguments(parser)
    parser.add_argument("--layers", choices=("all", "failed", "none"), default="all", help="which layers to print")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write report.html and parity.json there")
    parser.set_defaults(run=run)


def add_pair_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """What every command that looks at a pair of models is told."""
    parser.add_argument("--checkpoint", type=Path, required=required, metavar="DIR", help="official checkpoint folder")
    parser.add_argument("--model", type=Path, required=required, metavar="DIR", help="MLX model converted from it")
    parser.add_argument("--stages", nargs="+", metavar="STAGE", help="only these (default: all)")
    parser.add_argument("--audio", type=Path, metavar="WAV", help="a recording (default: the sample in the project)")
    parser.add_argument("--transcript", default="", help="what is said in the recording")
    parser.add_argument("--text", help="what to speak")
    parser.add_argument("--streaming", action="store_true", help="with the chunk masks of streaming synthesis")
    parser.add_argument("--seed", type=int, default=0, help="of all random draws (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from parity.inputs import DEFAULT_TEXT, load_inputs
    from parity.pair import load_pair
    from parity.report import data, html, terminal
    from parity.run import run as compare
    from parity.stages import Settings

    console = terminal.make_console()
    inputs = load_inputs(arguments.audio, arguments.transcript, arguments.text or DEFAULT_TEXT)
    pair = load_pair(arguments.checkpoint, arguments.model)
    with Console(stderr=True).status("") as status:
        report = compare(
            pair,
            inputs,
            stages=arguments.stages,
            settings=Settings(streaming=arguments.streaming),
            seed=arguments.seed,
            progress=lambda stage: status.update(f"comparing: {stage}"),
        )
    terminal.print_report(report, console, arguments.layers)
    result = data.to_dict(report, checkpoint=str(arguments.checkpoint), model=str(arguments.model))
    if arguments.json:
        data.write_json(result, arguments.json)
    if arguments.report:
        data.write_json(result, arguments.report / "parity.json")
        html.write_html(report, result, arguments.report / "report.html")
        console.print(f"report: {arguments.report / 'report.html'}")
    return report.verdict.exit_code
