"""`python -m parity demo`: build a tiny checkpoint, convert it, compare, and speak."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("demo", help="build a tiny checkpoint, convert it, compare, and speak")
    parser.add_argument("--out", type=Path, default=Path("build/demo"), metavar="DIR")
    parser.add_argument("--audio", type=Path, metavar="WAV", help="a recording (default: the sample in the project)")
    parser.add_argument("--family", default="cosyvoice2", help="of the model: cosyvoice2 (the default) or cosyvoice3")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from mlx_parity.report.terminal import make_console
    from parity.demo import demo
    from reference.synthetic.checkpoint import SYNTHETICS

    if arguments.family not in SYNTHETICS:
        raise ValueError(f"--family {arguments.family}: there is no such family; there are: {', '.join(SYNTHETICS)}")
    return demo(arguments.out, arguments.audio, make_console(), arguments.family).exit_code
