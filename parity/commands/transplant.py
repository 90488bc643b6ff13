"""`python -m parity transplant`: swap one part at a time and see which one the final error comes from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from parity.commands.run import add_pair_arguments, load_both


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "transplant",
        help="swap one stage at a time between both sides: which one does the final error come from?",
        description="Runs both pipelines from the recording to the wave with the same random draws and the "
        "reference's speech tokens, then puts each part into the other pipeline.",
    )
    add_pair_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the matrix as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from mlx_parity.report import data, terminal
    from parity.report import transplant as report_transplant
    from parity.stages import Settings
    from parity.transplant import transplant

    pair, inputs = load_both(arguments)
    with Console(stderr=True).status("") as status:
        report = transplant(
            pair,
            inputs,
            stages=arguments.stages,
            settings=Settings(streaming=arguments.streaming),
            seed=arguments.seed,
            progress=lambda part: status.update(f"transplanting: {part}"),
        )
    report_transplant.print_report(report, terminal.make_console())
    if arguments.json:
        result = report_transplant.to_dict(report, checkpoint=str(arguments.checkpoint), model=str(arguments.model))
        data.write_json(result, arguments.json)
    return report.verdict.exit_code
