"""How close two embeddings are."""

from __future__ import annotations

from typing import Any

import numpy as np


def cosine(a: Any, b: Any) -> float:
    """The cosine of two vectors, computed in float64."""
    left, right = (np.asarray(vector, np.float64).reshape(-1) for vector in (a, b))
    return float(left @ right / np.sqrt((left @ left) * (right @ right)))
