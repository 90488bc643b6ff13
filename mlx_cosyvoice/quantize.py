"""Weights in 4 or 8 bits: which layers can have them, and how they are unpacked.

The format is that of mlx-lm. In config.json, `quantization` holds `group_size` and `bits`, and by the path of a layer
`false` where that is stored in full or other parameters where it has its own. In the weights, a packed layer has
`weight` (uint32), `scales` and `biases`: group_size values in a row share a scale and a bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.quoting import quoted

BITS = (4, 8)
GROUP_SIZES = (32, 64, 128)
MODE = "affine"

#: Dtype of a component -> that in which its scales and biases are stored. Loading turns them into the component's.
SCALE_DTYPES = {"float32": "float16", "float16": "float16", "bfloat16": "bfloat16"}


@dataclass(frozen=True)
class Quantization:
    """How weights are packed.

    Raises:
        ValueError: values that the MLX kernels do not have.
    """

    bits: int = 4
    group_size: int = 64

    def __post_init__(self) -> None:
        for name, known in (("bits", BITS), ("group_size", GROUP_SIZES)):
            value = getattr(self, name)
            if type(value) is not int or value not in known:  # 4.0 equals 4, but is not one
                raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, not {quoted(value)}")

    def fits(self, module: nn.Module) -> bool:
        """Whether the layer's width is a multiple of the group size."""
        return is_candidate(module) and module["weight"].shape[-1] % self.group_size == 0

    def packed_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of a packed weight, from that of the weight."""
        return (*shape[:-1], shape[-1] * self.bits // 32)

    def scales_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of its scales, and of its biases."""
        return (*shape[:-1], shape[-1] // self.group_size)

    def pack(self, weight: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        """Packed weight, scales and biases; the latter two in the dtype of `weight`."""
        packed, scales, biases = mx.quantize(weight, group_size=self.group_size, bits=self.bits, mode=MODE)
        return packed, scales, biases

    def unpack(self, packed: mx.array, scales: mx.array, biases: mx.array) -> mx.array:
        """The weight that the kernels compute with, in float32."""
        return mx.dequantize(
            packed,
            scales.astype(mx.float32),
            biases.astype(mx.float32),
            group_size=self.group_size,
            bits=self.bits,
            mode=MODE,
        )


def is_candidate(module: nn.Module) -> bool:
    """Whether it is of a kind that can be packed: `mlx.nn.Linear` or `mlx.nn.Embedding`."""
    return isinstance(module, (nn.Linear, nn.Embedding))


def is_quantized(module: nn.Module) -> bool:
    return isinstance(module, (nn.QuantizedLinear, nn.QuantizedEmbedding))


def layer_quantization(settings: Mapping[str, Any], path: str) -> Quantization | None:
    """What `quantization` of config.json says of the layer at `path`; None for one that is not packed.

    Raises:
        ValueError: values that are not known.
    """
    own = settings.get(path, True)
    if own is False:
        return None
    found = own if isinstance(own, Mapping) else settings
    if found.get("mode", MODE) != MODE:
        raise ValueError(f"mode must be {MODE!r}, not {quoted(found['mode'])}")
    return Quantization(found.get("bits", 4), found.get("group_size", 64))


def packed_layers(weights: Mapping[str, Any]) -> list[str]:
    """The paths of the packed layers among weights by name."""
    return sorted(name.removesuffix(".scales") for name in weights if name.endswith(".scales"))


def misfits(weights: Mapping[str, mx.array], layers: Mapping[str, Quantization]) -> list[str]:
    """What cannot be the weights of packed `layers`, each with the reason; and packed numbers outside of these."""
    wrong = []
    for path, quantization in layers.items():
        packed, scales, biases = (weights[f"{path}.{part}"] for part in ("weight", "scales", "biases"))
        shape = (*scales.shape[:-1], scales.shape[-1] * quantization.group_size) if scales.ndim else ()
        if packed.dtype != mx.uint32 or not all(mx.issubdtype(part.dtype, mx.floating) for part in (scales, biases)):
            wrong.append(f"{path} {packed.dtype}, {scales.dtype} and {biases.dtype}")
        elif len(shape) < 2 or scales.shape != biases.shape:
            wrong.append(f"{path}.biases {list(biases.shape)} for scales {list(scales.shape)}")
        elif packed.shape != quantization.packed_shape(shape):
            wrong.append(f"{path}.weight {list(packed.shape)} instead of {list(quantization.packed_shape(shape))}")
    known = {f"{path}.weight" for path in layers}
    return wrong + [
        f"{key} {weight.dtype}" for key, weight in weights.items() if weight.dtype == mx.uint32 and key not in known
    ]


def pack_layers(model: nn.Module, layers: Mapping[str, Quantization]) -> None:
    """Put a packed layer in the place of each named one. What they hold is of no use until weights are loaded.

    Raises:
        KeyError: there is no layer of that path that could be packed.
    """
    modules = dict(model.named_modules())
    for path, quantization in layers.items():
        if path not in modules or not quantization.fits(modules[path]):
            raise KeyError(path)
    for quantization in sorted(set(layers.values()), key=lambda one: (one.bits, one.group_size)):
        nn.quantize(
            model,
            group_size=quantization.group_size,
            bits=quantization.bits,
            mode=MODE,
            class_predicate=lambda path, module, which=quantization: layers.get(path) == which,  # type: ignore[misc]
        )


def quantized_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Path -> packed layer of a loaded model."""
    return {path: module for path, module in sorted(model.named_modules()) if is_quantized(module)}


def unpacked_weight(module: nn.Module) -> mx.array:
    """The weight of a packed layer, in float32."""
    quantization = Quantization(module.bits, module.group_size)
    return quantization.unpack(module["weight"], module["scales"], module["biases"])
