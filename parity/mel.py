"""What a mel says at a glance: level, spread and range, whole and per band."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.measures import band_bias


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
