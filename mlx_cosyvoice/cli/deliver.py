"""Brings the chunks of a stream to the outputs and reports how it went."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlx_cosyvoice.cli import interrupts
from mlx_cosyvoice.cli.errors import describe
from mlx_cosyvoice.cli.interrupts import INTERRUPTED
from mlx_cosyvoice.cli.options import OutputOptions
from mlx_cosyvoice.cli.outputs import Outputs
from mlx_cosyvoice.cli.progress import Progress, figures, summary

if TYPE_CHECKING:
    from mlx_cosyvoice.audio import AudioWriter
    from mlx_cosyvoice.speech import SpeechStream


class CutShortError(ValueError):
    """Something failed after audio was written; the message says where that is."""


def deliver(options: OutputOptions, sample_rate: int, begin: Callable[[], SpeechStream], facts: dict[str, Any]) -> int:
    """Write a stream to all outputs, show progress, and print the figures at the end.

    When interrupted, it ends after the chunk that is being computed (at once where that is the first), and what was
    spoken is kept under the final name of the file.

    Args:
        options: of the outputs.
        sample_rate: of the stream, in Hz.
        begin: begins the stream; called once the outputs are open.
        facts: to print with the figures of --json.

    Returns:
        The exit status.

    Raises:
        CutShortError: something failed and the file was left under its partial name.
        OSError, ValueError: something failed and nothing is left.
    """
    return _Delivery(options, sample_rate, facts).run(begin)


class _Delivery:
    def __init__(self, options: OutputOptions, sample_rate: int, facts: dict[str, Any]) -> None:
        self._options, self._facts = options, facts
        self._progress = Progress(quiet=options.quiet)
        self._outputs = Outputs(options, sample_rate)
        self._stream: SpeechStream | None = None
        self._interrupted = False
        self._lock, self._reported = threading.Lock(), False

    def run(self, begin: Callable[[], SpeechStream]) -> int:
        interrupts.at_once(self._end_at_once)
        try:
            self._deliver(begin)
        except (OSError, ValueError) as error:
            raise self._explained(error) from error
        finally:
            self._progress.clear()
        self._report()
        return INTERRUPTED if self._interrupted else 0

    def _deliver(self, begin: Callable[[], SpeechStream]) -> None:
        try:
            with self._outputs:
                self._progress.show("...")
                self._stream = begin()
                with self._stream:
                    for chunk in self._stream:
                        interrupts.hold(self._stop)  # before the first is there, nothing is lost
                        self._outputs.write(chunk)
                        self._progress.update(self._stream.metrics)
                        if interrupts.asked():
                            break
        except KeyboardInterrupt:
            self._interrupted = True
            self._outputs.finish()

    def _stop(self) -> None:
        """After a first signal: the stream gives the chunk that it is computing, then ends."""
        self._progress.show("ending after this chunk; Ctrl-C again ends at once")
        if self._stream is not None:
            self._stream.close()
        self._outputs.stop()

    def _end_at_once(self) -> None:
        """After a second signal, while the main thread does whatever it does."""
        self._interrupted = True
        try:
            self._outputs.finish()
        except (OSError, ValueError) as error:
            print(f"mlx-cosyvoice: error: {describe(self._explained(error))}", file=sys.stderr)
            return
        self._progress.clear()
        self._report()

    def _explained(self, error: Exception) -> Exception:
        """With where the audio is, if it is anywhere."""
        file = self._outputs.file
        if file is None or file.kept is None:
            return error
        return CutShortError(f"{describe(error)}; {file.seconds:.1f} s of speech are in {file.kept}")

    def _report(self) -> None:
        """Once, by whichever thread comes first."""
        with self._lock:
            if not self._reported:
                self._reported = True
                self._interrupted = self._interrupted or interrupts.asked()
                self._print_report()

    def _print_report(self) -> None:
        options, file, stream = self._options, self._outputs.file, self._stream
        clipped = file.clipped if file is not None else 0
        if clipped and not options.quiet:
            print(f"mlx-cosyvoice: warning: {clipped} samples were too loud and were clipped", file=sys.stderr)
        if self._interrupted and not options.quiet:
            print(f"mlx-cosyvoice: interrupted; {_what_is_left(file)}", file=sys.stderr)
        if stream is None:
            return
        if options.json:
            report = {
                **self._facts,
                "interrupted": self._interrupted,
                "clipped_samples": clipped,
                **figures(stream.metrics),
            }
            print(json.dumps(report), file=sys.stderr if options.out == "-" else sys.stdout)
        elif not options.quiet:
            name = "" if options.out in (None, "-") else f"{options.out}: "
            print(f"{name}{summary(stream.metrics)}", file=sys.stderr)


def _what_is_left(file: AudioWriter | None) -> str:
    if file is None or not file.seconds:
        return "nothing was written"
    if file.partial is None:
        return f"{file.seconds:.1f} s were written"
    return f"the first {file.seconds:.1f} s are in {file.kept or file.path}"
