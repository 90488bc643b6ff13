"""The voice: how far two F0 tracks are apart, whether they agree on what is voiced, and whether it is one speaker's."""

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


def speaker_cosine(actual: np.ndarray, expected: np.ndarray) -> float:
    """Cosine of the angle between two embeddings of any shape, in [-1, 1]. Symmetric.

    Returns:
        1 for equal direction (two embeddings of zeros count as equal); -1 where anything is not finite.

    Raises:
        ValueError: the shapes differ or are empty.
    """
    a, b = (side.reshape(-1) for side in matched(actual, expected, "embedding"))
    if not finite(a, b):
        return -1.0
    sizes = float(np.abs(a).max()), float(np.abs(b).max())
    if not all(sizes):
        return float(sizes[0] == sizes[1])
    a, b = a / sizes[0], b / sizes[1]
    return float(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), -1, 1))
