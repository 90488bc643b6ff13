"""Command line: `python -m parity COMMAND`."""

from __future__ import annotations

import argparse
import sys

import mlx_cosyvoice  # noqa: F401  (loads the BLAS before mlx)
from mlx_cosyvoice.cli.interrupts import INTERRUPTED, Interrupts
from parity.commands import bench, capture, demo, drift, faults, localise, mutate, run, streaming, transplant, upstream

COMMANDS = (run, capture, demo, drift, faults, localise, mutate, transplant, bench, streaming, upstream)


def _find(arguments: argparse.Namespace) -> None:
    """Put local folders in the place of hub ids.

    Raises:
        ValueError: one of --checkpoint and --model without the other, where the command accepts both.
    """
    named = [bool(getattr(arguments, name)) for name in ("checkpoint", "model") if hasattr(arguments, name)]
    if any(named) and not all(named):
        raise ValueError("--checkpoint and --model go together")
    if getattr(arguments, "model", None):
        from mlx_cosyvoice.hub import find_model

        arguments.model = find_model(arguments.model)
    if getattr(arguments, "checkpoint", None):
        from converters.checkpoint import find_checkpoint

        arguments.checkpoint = find_checkpoint(arguments.checkpoint, llm=getattr(arguments, "llm", None))


def main(argv: list[str] | None = None) -> int:
    """Run the command line. Bad input gives one line on stderr and exit status 2, never a pass."""
    parser = argparse.ArgumentParser(
        prog="python -m parity",
        description="Runs the PyTorch reference and the MLX model on the same inputs and says where they part. "
        "Exit status: 0 all pass, 1 something diverged, 2 something could not be observed.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    arguments = parser.parse_args(argv)
    with Interrupts():
        try:
            _find(arguments)
            return int(arguments.run(arguments))
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
