"""How the tables write a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def seconds(value: float) -> str:
    """A duration in the unit that suits it."""
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s" if value < 100 else f"{value:.0f} s"


def both_ratios(own: Mapping[str, Any], name: str) -> str:
    """A ratio of times and, in brackets, the same of processor time, which a busy machine disturbs less."""
    return f"{own[name]:.2f} ({own['of_cpu_seconds'][name]:.2f})"


def peak_memory(side: Mapping[str, Any]) -> str:
    """Of one side of a stage."""
    return f"{side['memory']['peak_bytes'] / 2**30:.2f} GB"
