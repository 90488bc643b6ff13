"""How far a command is, on one line of the terminal, and the figures at its end."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlx_cosyvoice.speech import Metrics


class Progress:
    """One line on standard error that is written anew; nothing where that is not a terminal.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr.isatty()
        self._width = 0

    def show(self, text: str) -> None:
        if self._shown:
            text = text[: self._columns()]
            print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(text)

    def update(self, metrics: Metrics) -> None:
        factor = metrics.real_time_factor
        self.show(
            f"segment {metrics.segments + 1}, {metrics.audio_seconds:.1f} s of speech in {metrics.seconds:.1f} s"
            + ("" if factor is None else f" (real-time factor {factor:.2f})")
        )

    def clear(self) -> None:
        if self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=sys.stderr, flush=True)
            self._width = 0

    @staticmethod
    def _columns() -> int:
        try:
            return max(20, os.get_terminal_size(sys.stderr.fileno()).columns - 1)
        except (OSError, ValueError):
            return 79


def figures(metrics: Metrics) -> dict[str, Any]:
    """All that `metrics` holds, for JSON."""
    return {**asdict(metrics), "real_time_factor": metrics.real_time_factor}


def summary(metrics: Metrics) -> str:
    """The figures that people want."""
    if metrics.first_chunk_seconds is None or metrics.real_time_factor is None:
        return "no speech"
    return (
        f"{metrics.audio_seconds:.1f} s of speech in {metrics.seconds:.1f} s "
        f"(real-time factor {metrics.real_time_factor:.2f}), first chunk after {metrics.first_chunk_seconds:.2f} s"
    )
