"""The weights that a quantized model computes with, in full."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlx_cosyvoice.quantize import layer_quantization, packed_layers
from mlx_cosyvoice.weights import DTYPES, load_weights, read_config


def unpacked_weights(folder: Path, component: str) -> dict[str, np.ndarray]:
    """Official key -> float32 weight, of the packed layers of one component of a model folder."""
    _, meta = read_config(folder)
    prefix = f"{component}."
    stored = {key.removeprefix(prefix): v for key, v in load_weights(folder).items() if key.startswith(prefix)}
    dtype = DTYPES[meta["dtypes"].get(component, "float32")]
    unpacked = {}
    for path in packed_layers(stored):
        quantization = layer_quantization(meta["quantization"] or {}, prefix + path)
        if quantization is not None:
            scales, biases = (stored[f"{path}.{part}"].astype(dtype) for part in ("scales", "biases"))
            unpacked[f"{path}.weight"] = np.array(quantization.unpack(stored[f"{path}.weight"], scales, biases))
    return unpacked
