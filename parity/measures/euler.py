"""How the error grows over the Euler steps of the flow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlx_parity.compare import relative_rms
from parity.measures._arrays import matched


def euler_step_errors(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> list[float]:
    """Relative root mean square error of every step.

    Args:
        actual: the estimator's output (or the solver's state) of each step, [batch, bands, frames].
        expected: the reference's.

    Returns:
        One number a step; infinity where anything is not finite.

    Raises:
        ValueError: the numbers of steps or the shapes differ.
    """
    if len(actual) != len(expected):
        raise ValueError(f"Euler steps: {len(actual)}, the reference takes {len(expected)}")
    steps = enumerate(zip(actual, expected, strict=True))
    return [relative_rms(*matched(a, b, f"Euler step {step}")) for step, (a, b) in steps]
