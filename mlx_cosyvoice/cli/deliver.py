"""Takes the chunks of a stream to the outputs and tells how it went."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlx_cosyvoice.cli.errors import describe
from mlx_cosyvoice.cli.interrupts import INTERRUPTED
from mlx_cosyvoice.cli.outputs import Outputs
from mlx_cosyvoice.cli.progress import Progress, figures, summary

if TYPE_CHECKING:
    from mlx_cosyvoice.synthesis import SpeechStream


class CutShortError(ValueError):
    """Something failed after audio was written; the message says where that is."""


def deliver(
    arguments: argparse.Namespace, sample_rate: int, begin: Callable[[], SpeechStream], facts: dict[str, Any]
) -> int:
    """Write a stream to all outputs, show progress, and print the figures at the end.

    When interrupted, what was spoken is kept under the final name of the file.

    Args:
        arguments: of `arguments.add_output`.
        sample_rate: of the stream, in Hz.
        begin: begins the stream; called once the outputs are open.
        facts: to print with the figures of --json.

    Returns:
        The exit status.

    Raises:
        CutShortError: something failed and the file was left under its partial name.
        OSError, ValueError: something failed and nothing is left.
    """
    progress = Progress(quiet=arguments.quiet)
    outputs = Outputs(arguments, sample_rate)
    stream: SpeechStream | None = None
    interrupted = False
    try:
        with outputs:
            progress.show("...")
            stream = begin()
            with stream:
                for chunk in stream:
                    outputs.write(chunk)
                    progress.update(stream.metrics)
    except KeyboardInterrupt:
        interrupted = True
    except (OSError, ValueError) as error:
        if outputs.file is None or outputs.file.kept is None:
            raise
        raise CutShortError(
            f"{describe(error)}; {outputs.file.seconds:.1f} s of speech are in {outputs.file.kept}"
        ) from error
    finally:
        progress.clear()
    _report(arguments, outputs, stream, facts, interrupted)
    return INTERRUPTED if interrupted else 0


def _report(
    arguments: argparse.Namespace,
    outputs: Outputs,
    stream: SpeechStream | None,
    facts: dict[str, Any],
    interrupted: bool,
) -> None:
    clipped = outputs.file.clipped if outputs.file is not None else 0
    if clipped and not arguments.quiet:
        print(f"mlx-cosyvoice: warning: {clipped} samples were too loud and were clipped", file=sys.stderr)
    if interrupted and not arguments.quiet:
        print(f"mlx-cosyvoice: interrupted; {_what_is_left(outputs)}", file=sys.stderr)
    if stream is None:
        return
    if arguments.json:
        told = {**facts, "interrupted": interrupted, "clipped_samples": clipped, **figures(stream.metrics)}
        print(json.dumps(told), file=sys.stderr if arguments.out == "-" else sys.stdout)
    elif not arguments.quiet:
        name = "" if arguments.out in (None, "-") else f"{arguments.out}: "
        print(f"{name}{summary(stream.metrics)}", file=sys.stderr)


def _what_is_left(outputs: Outputs) -> str:
    file = outputs.file
    if file is None or not file.seconds:
        return "nothing was written"
    if file.partial is None:
        return f"{file.seconds:.1f} s were written"
    return f"the first {file.seconds:.1f} s are in {file.path}"
