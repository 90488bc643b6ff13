"""`python -m parity demo`: build a tiny checkpoint, convert it, compare, and speak."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("demo", help="build a tiny checkpoint, convert it, compare, and speak")
    parser.add_argument("--out", type=Path, default=Path("build/demo"), metavar="DIR")
    parser.add_argument("--audio", type=Path, metavar="WAV", help="a recording (default: the sample in the project)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from parity.demo import demo
    from parity.report.terminal import make_console

    return demo(arguments.out, arguments.audio, make_console()).exit_code
