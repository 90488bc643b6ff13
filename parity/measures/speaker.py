"""Whether two embeddings are of one speaker."""

from __future__ import annotations

import numpy as np

from parity.measures._arrays import finite, matched


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
