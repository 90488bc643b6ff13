"""`python -m parity upstream`: hold `reference/` against the official code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("upstream", help="hold reference/ against the official code, on one checkpoint")
    parser.add_argument(
        "--official", type=Path, required=True, metavar="DIR", help="a checkout of FunAudioLLM/CosyVoice"
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="folder or hub id (default: a tiny synthetic one of each family)"
    )
    parser.add_argument("--stages", nargs="+", metavar="STAGE", help="only these (default: all)")
    parser.add_argument("--layers", choices=("all", "failed", "none"), default="none", help="which layers to print")
    parser.add_argument("--seed", type=int, default=0, help="of all random draws (default: 0)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import tempfile

    from rich.console import Console

    from mlx_parity.report import culprits, terminal
    from parity.inputs import load_inputs
    from parity.official import compare
    from reference.official.checkout import Checkout
    from reference.synthetic.checkpoint import SYNTHETICS, write_checkpoint

    checkout, console, statuses = Checkout(arguments.official), terminal.make_console(), []
    with tempfile.TemporaryDirectory() as folder:
        made = (write_checkpoint(Path(folder) / name, synthetic=SYNTHETICS[name]) for name in SYNTHETICS)
        for checkpoint in [arguments.checkpoint] if arguments.checkpoint else made:
            with Console(stderr=True).status("") as status:
                options = {"stages": arguments.stages, "seed": arguments.seed, "progress": status.update}
                report = compare(checkout, checkpoint, load_inputs(), **options)
            console.print(f"\n{checkpoint.name}")
            terminal.print_report(report, console, arguments.layers)
            if report.culprits:
                culprits.print_culprits(report, console)
            statuses.append(report.verdict.exit_code)
    return min(statuses, key=(1, 2, 0).index)  # a divergence is the worst, as in one run
