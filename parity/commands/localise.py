"""`python -m parity localise`: name the modules that compute something else than the reference."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from parity.commands.run import add_pair_arguments, compare, load_both, write


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("localise", help="name the modules at fault: each is fed the reference's own inputs")
    add_pair_arguments(parser)
    parser.add_argument("--fault", metavar="NAME", help="switch on this one of `faults --list` first")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings as JSON")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write report.html and parity.json there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from mlx_parity.report import culprits
    from mlx_parity.report.terminal import make_console
    from parity.faults import choose

    pair, inputs = load_both(arguments)
    (fault,) = choose([arguments.fault], pair.model.family.model_type) if arguments.fault else [None]
    with fault.switch(pair) if fault else nullcontext():
        report = compare(pair, inputs, arguments, arguments.streaming)
    console = make_console()
    culprits.print_culprits(report, console)
    write(report, arguments, console, culprits.to_dict(report))
    return report.verdict.exit_code
