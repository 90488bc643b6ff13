"""`python -m parity localise`: name the modules that compute something else than the reference."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.commands.run import add_pair_arguments

if TYPE_CHECKING:
    from parity.localise import LocaliseReport


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("localise", help="name the modules at fault: each is fed the reference's own inputs")
    add_pair_arguments(parser)
    parser.add_argument("--fault", metavar="NAME", help="switch on this one of `faults --list` first")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from parity.report import culprits
    from parity.report.data import write_json
    from parity.report.terminal import make_console

    report = _localise(arguments)
    culprits.print_culprits(report, make_console())
    if arguments.json:
        write_json(culprits.to_dict(report), arguments.json)
    return report.verdict.exit_code


def _localise(arguments: argparse.Namespace) -> LocaliseReport:
    from contextlib import nullcontext

    from rich.console import Console

    from parity.faults import choose
    from parity.inputs import DEFAULT_TEXT, load_inputs
    from parity.localise import localise
    from parity.pair import load_pair

    faults = choose([arguments.fault]) if arguments.fault else []
    inputs = load_inputs(arguments.audio, arguments.transcript, arguments.text or DEFAULT_TEXT)
    pair = load_pair(arguments.checkpoint, arguments.model)
    switch = faults[0].switch(pair) if faults else nullcontext()
    with Console(stderr=True).status("") as status, switch:
        return localise(
            pair,
            inputs,
            stages=arguments.stages,
            streaming=arguments.streaming,
            seed=arguments.seed,
            progress=lambda message: status.update(message),
        )
