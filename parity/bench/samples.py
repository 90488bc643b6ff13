"""Repeated measurements of one thing."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Median, extremes and all samples, as plain data.

    Raises:
        ValueError: there are none.
    """
    if not samples:
        raise ValueError("samples: there are none to summarize")
    return {
        "median": statistics.median(samples),
        "min": min(samples),
        "max": max(samples),
        "samples": list(samples),
    }


def ratio(mlx: Sequence[float], pytorch: Sequence[float]) -> float:
    """MLX time / PyTorch time, of medians: below 1 means that MLX is faster."""
    return statistics.median(mlx) / statistics.median(pytorch)
