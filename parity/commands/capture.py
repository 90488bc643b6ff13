"""`python -m parity capture`: what the reference does, kept for any number of runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from parity.commands.run import add_pair_arguments, load_both


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("capture", help="run the reference alone, and keep what it did for `run --capture`")
    add_pair_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to keep it")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from parity.run import record
    from parity.stages import Settings

    pair, inputs = load_both(arguments)
    with Console(stderr=True).status("") as status:
        options: dict[str, Any] = {"stages": arguments.stages, "seed": arguments.seed, "progress": status.update}
        record(pair, inputs, arguments.out, settings=Settings(streaming=arguments.streaming), **options)
    print(f"written: {arguments.out}; now: python -m parity run --capture {arguments.out} ...")
    return 0
