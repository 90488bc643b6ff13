"""The weights that a quantized model computes with, in full."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlx_cosyvoice.weights import DTYPES, StoredModel


def unpacked_weights(folder: Path, component: str) -> dict[str, np.ndarray]:
    """Official key -> float32 weight, of the packed layers of one component of a model folder."""
    stored = StoredModel.open(folder)
    weights, dtype = stored.component(component), DTYPES[stored.meta["dtypes"].get(component, "float32")]
    unpacked = {}
    for path, quantization in stored.packed(component).items():
        scales, biases = (weights[f"{path}.{part}"].astype(dtype) for part in ("scales", "biases"))
        unpacked[f"{path}.weight"] = np.array(quantization.unpack(weights[f"{path}.weight"], scales, biases))
    return unpacked
