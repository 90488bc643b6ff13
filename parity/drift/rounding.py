"""Low precision, simulated on a float32 model: chosen modules lose what a lower dtype would take from them.

MLX's half-precision matrix products are 5 to 18 times slower than float32 on a CPU, so nothing here computes in half
precision. In a rounded module

- float16, bfloat16: weights are rounded to the dtype, and so are the inputs of every module that holds weights and the
  outputs of every module; products are summed in float32, as kernels for half precision do. What a module computes
  between (an activation's inner steps, the softmax) stays float32 until its result is rounded, so the simulation
  loses somewhat less than the real thing: on the tiny model 0.7 to 0.95 times the final error of a real conversion.
- q8, q4: weights of `mlx.nn.Linear` and `mlx.nn.Embedding` are replaced by what `mlx.nn.quantize` would make of them,
  dequantized; activations stay float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

from mlx_parity.intercept import ModuleCall, intercepted

HALF = {"float16": mx.float16, "bfloat16": mx.bfloat16}
BITS = {"q8": 8, "q4": 4}
PRECISIONS = (*HALF, *BITS)
GROUP_SIZES = (32, 64, 128)

#: Modules that compute in float32 in a half-precision model too, with all below them, and one whose output only is.
FLOAT32_WITHIN = ("hift.m_source", "hift.f0_predictor.classifier", "flow.decoder.estimator.time_embed")
FLOAT32_OUTPUT = ("hift.f0_predictor",)


@dataclass(frozen=True)
class Precision:
    """A dtype to try: one of `PRECISIONS`. `group_size` is that of quantized weights."""

    name: str
    group_size: int = 64

    @property
    def quantized(self) -> bool:
        return self.name in BITS

    def quantizes(self, module: nn.Module) -> bool:
        """Whether `mlx.nn.quantize` would take this module, its width being a multiple of the group size."""
        quantizable = self.quantized and isinstance(module, (nn.Linear, nn.Embedding))
        return quantizable and module["weight"].shape[-1] % self.group_size == 0

    def weights(self, module: nn.Module) -> dict[str, mx.array]:
        """The module's own parameters (not its children's) as this precision leaves them, in float32."""
        own = {name: value for name, value in module.items() if is_float(value)}
        if not self.quantized:
            return {name: self.activation(value) for name, value in own.items()}
        if not self.quantizes(module):
            return {}
        packed = mx.quantize(own["weight"], group_size=self.group_size, bits=BITS[self.name])
        return {"weight": mx.dequantize(*packed, group_size=self.group_size, bits=BITS[self.name])}

    def activation(self, x: mx.array) -> mx.array:
        """x rounded, in float32."""
        return x.astype(HALF[self.name]).astype(mx.float32) if self.name in HALF else x


def parse_precision(name: str, group_size: int = 64) -> Precision:
    """A precision by its name.

    Raises:
        ValueError: no such precision, or a group size that MLX cannot quantize by.
    """
    if name not in PRECISIONS:
        raise ValueError(f"dtype {name!r} is unknown; there are: {', '.join(PRECISIONS)}")
    if group_size not in GROUP_SIZES:
        raise ValueError(f"group size {group_size} is not possible; there are: {', '.join(map(str, GROUP_SIZES))}")
    return Precision(name, group_size)


def is_float(value: Any) -> bool:
    return isinstance(value, mx.array) and mx.issubdtype(value.dtype, mx.floating)


def map_floats(value: Any, function: Callable[[mx.array], mx.array]) -> Any:
    """Apply `function` to every array of floats in a value or tuple."""
    return tree_map(lambda leaf: function(leaf) if is_float(leaf) else leaf, value)


def _stays_float32(path: str) -> bool:
    return any(f"{path}.".startswith(f"{kept}.") for kept in FLOAT32_WITHIN)


def rounds_output(path: str) -> bool:
    """Whether the output of this module is in half precision, in a half-precision model."""
    return path not in FLOAT32_OUTPUT and not _stays_float32(path)


@contextmanager
def rounded(roots: Iterable[tuple[str, nn.Module]], precision: Precision) -> Iterator[None]:
    """Round these modules and all below them while the context lasts.

    Args:
        roots: (official path, live module); none of them inside another.
        precision: what to round to.
    """
    modules = {
        f"{root}.{name}" if name else root: module for root, owner in roots for name, module in owner.named_modules()
    }

    def answer(call: ModuleCall) -> Any:
        if any(map(is_float, call.module.values())) and not _stays_float32(call.path):
            call.args = map_floats(call.args, precision.activation)
        output = call.run()
        return map_floats(output, precision.activation) if rounds_output(call.path) else output

    weights = [(module, precision.weights(module)) for module in modules.values()]
    originals = [(module, {name: module[name] for name in replaced}) for module, replaced in weights]
    try:
        _put(weights)
        with intercepted({} if precision.quantized else modules, answer):
            yield
    finally:
        _put(originals)


def _put(weights: Iterable[tuple[nn.Module, dict[str, mx.array]]]) -> None:
    for module, values in weights:
        for name, value in values.items():
            module[name] = value
