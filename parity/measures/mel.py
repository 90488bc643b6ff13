"""Mels at a glance, their bands (too loud, too flat or too lively), and how their error grows over the Euler steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlx_parity.compare import relative_rms
from parity.measures._arrays import finite, matched


def band_bias(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Mean difference of every band, in the mel's unit (natural log of magnitude).

    Args:
        actual: [batch, bands, frames].
        expected: the same shape.

    Returns:
        [bands]; all infinite where anything is not finite.

    Raises:
        ValueError: the shapes differ, or are not three-dimensional, or empty.
    """
    a, b = _mels(actual, expected)
    if not finite(a, b):
        return np.full(a.shape[1], np.inf)
    return (a - b).mean(axis=(0, 2))


def band_variance_ratio(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The variance of every band of `actual` over that of `expected`: 1 is right, below 1 is over-smoothed.

    Arguments, errors and shapes as for `band_bias`. A band that is constant in `expected` gives 1 if it is constant
    in `actual` too, else infinity.
    """
    a, b = _mels(actual, expected)
    if not finite(a, b):
        return np.full(a.shape[1], np.inf)
    mine, theirs = a.var(axis=(0, 2)), b.var(axis=(0, 2))
    # equal variances are 1 even where both are zero
    ratio = np.divide(mine, theirs, out=np.full_like(mine, np.inf), where=theirs > 0)
    return np.where(mine == theirs, 1.0, ratio)


def mel_statistics(actual: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """Both mels side by side.

    Args:
        actual: the MLX mel, [1, bands, frames], natural log of magnitude.
        expected: the reference's, of the same shape.

    Returns:
        `mlx` and `reference`, each with mean, std, min, max and range (max - min); `band_bias`, the mean difference
        of every band; `band_std_ratio`, the MLX standard deviation over the reference's in every band.
    """

    def side(mel: np.ndarray) -> dict[str, float]:
        low, high = float(mel.min()), float(mel.max())
        return {"mean": float(mel.mean()), "std": float(mel.std()), "min": low, "max": high, "range": high - low}

    a, b = actual.astype(np.float64), expected.astype(np.float64)
    spread = np.maximum(b.std(axis=(0, 2)), np.finfo(np.float32).tiny)
    return {
        "mlx": side(a),
        "reference": side(b),
        "band_bias": band_bias(actual, expected).tolist(),
        "band_std_ratio": (a.std(axis=(0, 2)) / spread).tolist(),
    }


def _mels(actual: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = matched(actual, expected, "mel")
    if a.ndim != 3:
        raise ValueError(f"mel: must be [batch, bands, frames], not {list(a.shape)}")
    return a, b


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
