"""Streaming: whether pieces fit together where they meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parity.measures._arrays import finite, matched, rms

#: How far on each side of a boundary a seam reaches: frames of a mel, samples of a wave (8 ms at 24 kHz).
MEL_WINDOW = 4
WAVE_WINDOW = 192


@dataclass(frozen=True)
class Seams:
    """Errors as a share of the reference's root mean square over the whole signal.

    `elsewhere` is the error outside all windows; None where the windows cover everything.
    """

    boundaries: list[int]
    error: list[float]
    elsewhere: float | None

    @property
    def worst(self) -> float:
        """The largest seam error over the error elsewhere: 1 is no seam at all; 0 where nothing is wrong at all."""
        peak = max(self.error, default=0.0)
        if not peak:
            return 0.0
        return peak / self.elsewhere if self.elsewhere else np.inf


def chunk_boundaries(length: int, chunk: int, offset: int = 0) -> list[int]:
    """Where chunks meet inside a signal.

    Args:
        length: of the signal (frames or samples).
        chunk: length of a chunk.
        offset: how much of the same grid lies before the signal (the prompt's frames).

    Returns:
        Positions in (0, length): a boundary lies before the frame of that index.

    Raises:
        ValueError: a chunk shorter than 1.
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    return list(range(chunk - offset % chunk, length, chunk))


def seam_errors(actual: np.ndarray, expected: np.ndarray, boundaries: Sequence[int], window: int) -> Seams:
    """The error around every boundary against the error elsewhere.

    Args:
        actual: the streamed signal, time on the last axis: a mel [1, 80, frames] or a wave [1, samples].
        expected: the same signal made in one piece.
        boundaries: where pieces meet.
        window: frames or samples on either side that belong to the seam.

    Returns:
        All errors are infinite where anything is not finite.

    Raises:
        ValueError: the shapes differ or are empty, a boundary outside the signal, or a window shorter than 1.
    """
    a, b = matched(actual, expected, "streamed signal")
    length = a.shape[-1]
    outside = [boundary for boundary in boundaries if not 0 < boundary < length]
    if outside:
        raise ValueError(f"boundaries must lie inside the {length} frames or samples, {outside} do not")
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    if not finite(a, b):
        return Seams(list(boundaries), [np.inf] * len(boundaries), np.inf)
    scale = rms(b) or 1.0
    difference = a - b
    rest = np.ones(length, bool)
    errors = []
    for boundary in boundaries:
        span = slice(max(0, boundary - window), boundary + window)
        rest[span] = False
        errors.append(rms(difference[..., span]) / scale)
    elsewhere = rms(difference[..., rest]) / scale if rest.any() else None
    return Seams(list(boundaries), errors, elsewhere)
