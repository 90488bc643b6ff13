"""Pitch: how far two F0 tracks are apart, and whether they agree on what is voiced."""

from __future__ import annotations

import math

import numpy as np

from parity.measures._arrays import finite, matched, rms

#: F0 above this is voiced, as in the vocoder's own source (`nsf_voiced_threshold`).
VOICED_HZ = 10.0


def f0_error(actual: np.ndarray, expected: np.ndarray, threshold: float = VOICED_HZ) -> float:
    """Root mean square difference in Hz over the frames that are voiced on both sides.

    Args:
        actual: F0 of every frame in Hz, any shape.
        expected: the same shape.
        threshold: Hz above which a frame is voiced.

    Returns:
        Hz; 0 where neither side has a voiced frame, infinity where both have but never at the same time, where one
        has and the other has none, or where anything is not finite. Symmetric.

    Raises:
        ValueError: the shapes differ or are empty.
    """
    a, b = matched(actual, expected, "f0")
    if not finite(a, b):
        return math.inf
    voiced_a, voiced_b = a > threshold, b > threshold
    both = voiced_a & voiced_b
    if not both.any():
        return math.inf if voiced_a.any() or voiced_b.any() else 0.0
    return rms((a - b)[both])


def voicing_agreement(actual: np.ndarray, expected: np.ndarray, threshold: float = VOICED_HZ) -> float:
    """The share of frames on which both sides agree, in [0, 1]; 0 where anything is not finite.

    Arguments and errors as for `f0_error`. Symmetric.
    """
    a, b = matched(actual, expected, "f0")
    return float(((a > threshold) == (b > threshold)).mean()) if finite(a, b) else 0.0
