"""The `mlx-cosyvoice` command. A subcommand is a module of this package; it imports MLX only when it runs."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import mlx_cosyvoice
from mlx_cosyvoice.cli import convert_voice, info, speak, voices
from mlx_cosyvoice.cli.errors import describe
from mlx_cosyvoice.cli.interrupts import INTERRUPTED, Interrupts

#: Each has `NAME`, `HELP` and `add_arguments(parser)`, which says by `options.runs` what runs it.
COMMANDS = (speak, convert_voice, voices, info)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mlx-cosyvoice", description="CosyVoice text to speech, in MLX.")
    parser.set_defaults(quiet=False)
    parser.add_argument("--version", action="version", version=f"%(prog)s {mlx_cosyvoice.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = commands.add_parser(command.NAME, help=command.HELP, description=command.HELP)
        subparser.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
        command.add_arguments(subparser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0, 1 for an error that the user can mend (said in one line on standard error), 130 when
        interrupted. Wrong arguments leave with status 2, as argparse does.
    """
    arguments = _parser().parse_args(argv)
    with Interrupts() as interrupts:
        try:
            status = _run(lambda: arguments.run(arguments), quiet=arguments.quiet, traceback=arguments.traceback)
        except KeyboardInterrupt:
            print("mlx-cosyvoice: interrupted", file=sys.stderr)
            return INTERRUPTED
        if interrupts.asked and not status:
            print("mlx-cosyvoice: interrupted when all was done", file=sys.stderr)
            return INTERRUPTED
        return status


def _run(command: Callable[[], int | None], *, quiet: bool, traceback: bool) -> int:
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            if quiet:
                warnings.simplefilter("ignore")
            status = command()
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader, `head` say, has seen enough. Without a standard output Python does not complain at exit.
        sys.stdout = None  # type: ignore[assignment]
        return 0
    except (OSError, ValueError) as error:
        if traceback:
            raise
        print(f"mlx-cosyvoice: error: {describe(error)}", file=sys.stderr)
        return 1
    return status or 0


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"mlx-cosyvoice: warning: {message}", file=sys.stderr)
