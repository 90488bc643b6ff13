"""MLX's side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from mlx_parity.compare import allowed
from mlx_parity.pairing.layout import shaped
from mlx_parity.sides.base import Side
from mlx_parity.sides.layouts import Layouts

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16, "float64": mx.float64}


class MLXSide(Side):
    """An MLX module, where channels are the last axis. It chooses its dtype by itself, at least as fine as `dtype`.

    With `lazy` the results stay MLX arrays (in the reference's layout still) which nobody has computed yet and that can
    be differentiated; they are accepted as inputs as well.
    """

    name, array_type = "mlx", mx.array

    def __init__(self, module: Any, dtype: str = "float32", *, lazy: bool = False) -> None:
        super().__init__(module, dtype)
        self.lazy = lazy

    def is_float(self, array: mx.array) -> bool:
        return bool(mx.issubdtype(array.dtype, mx.floating))

    def array(self, value: Any, *, channels_first: bool = False) -> mx.array:
        return _swapped(value if isinstance(value, mx.array) else mx.array(value), channels_first)

    def plain(self, value: np.ndarray) -> mx.array:
        return mx.array(value)

    def numpy(self, array: mx.array, *, channels_first: bool = False) -> Any:
        array = _swapped(array, channels_first)
        return array if self.lazy else as_numpy(array)

    def spelled_out(self, value: Any, like: Any) -> Any:
        if not isinstance(value, str) or value != "causal" or not isinstance(like, np.ndarray) or like.ndim < 2:
            return value
        queries, keys = like.shape[-2:]
        causal = np.tri(queries, keys, keys - queries, dtype=bool)
        return value if (allowed(like) == causal).all() else mx.array(causal)

    @classmethod
    def dtype_of(cls, module: nn.Module) -> str:
        counts = Counter[mx.Dtype]()
        arrays: list[tuple[str, mx.array]] = tree_flatten(module.parameters())  # type: ignore[assignment]
        for _, array in arrays:
            counts[array.dtype] += array.size if mx.issubdtype(array.dtype, mx.floating) else 0
        names = {dtype: name for name, dtype in DTYPES.items()}
        return names.get(counts.most_common(1)[0][0], "float32") if counts else "float32"

    def converted(self, dtype: str) -> MLXSide:
        if dtype == self.dtype:
            return self
        module = _copied(self.module)
        with self._device(dtype):
            module.set_dtype(DTYPES[dtype])
            mx.eval(module.parameters())
        return MLXSide(module, dtype)

    @staticmethod
    def _device(dtype: str) -> AbstractContextManager[Any]:
        return mx.stream(mx.cpu) if dtype == "float64" else nullcontext()  # Metal has no float64

    def running(self) -> AbstractContextManager[Any]:
        return self._device(self.dtype)

    def holding_weights(self, weights: Mapping[str, np.ndarray]) -> MLXSide:
        module = _copied(self.module)
        named = dict(module.named_modules())
        for path, array in weights.items():
            named[path].weight = mx.array(array).astype(named[path].weight.dtype)
        return MLXSide(module, self.dtype)

    def is_packed(self, module: nn.Module) -> bool:
        return {"weight", "scales", "bits", "group_size"} <= {*module, *vars(module)}

    def packed(self, weight: np.ndarray, module: nn.Module) -> np.ndarray:
        if not self.is_packed(module):
            return weight
        how = _packing(module)
        packed, *rest = mx.quantize(mx.array(weight).astype(_packed_in(module)), **how)
        scales, biases, *_ = (*(one.astype(module.scales.dtype) for one in rest), None)  # some modes have no biases
        return as_numpy(mx.dequantize(packed, scales, biases, **how))

    def parameters(self, module: nn.Module) -> dict[str, np.ndarray]:
        if self.is_packed(module):
            unpacked = mx.dequantize(module.weight, module.scales, module.get("biases"), **_packing(module))
            return {"weight": as_numpy(unpacked), **({"bias": as_numpy(module.bias)} if "bias" in module else {})}
        # what begins with an underscore is no parameter to MLX: a table that the code makes
        arrays = {name: value for name, value in module.items() if isinstance(value, mx.array) and name[0] != "_"}
        return {name: as_numpy(array) for name, array in arrays.items() if self.is_float(array)}

    def parameters_of(self, module: nn.Module) -> Callable[..., Any]:
        return type(module).__call__  # type: ignore[operator]

    def to_reference(self, module: nn.Module, array: mx.array, *, incoming: bool) -> mx.array:
        """What a module returned or was called with, with its axes in the order of the reference's twin."""
        return array

    def from_reference(self, module: nn.Module, value: np.ndarray, *, incoming: bool) -> np.ndarray:
        """The reverse."""
        return value

    def noted(
        self, module: nn.Module, array: mx.array, *, incoming: bool = False, like: np.ndarray | None = None
    ) -> np.ndarray:
        found = as_numpy(self.to_reference(module, array, incoming=incoming))
        if self._layouts is None or not np.issubdtype(found.dtype, np.floating):
            return found
        return Layouts(self._layouts).to_reference(module, found, like, incoming)

    def fed(self, module: nn.Module, own: Any, value: np.ndarray, *, incoming: bool = False) -> mx.array:
        double = value.dtype == np.float64 and own is not None and own.dtype == mx.float64
        if self._layouts is not None and own is not None and np.issubdtype(value.dtype, np.floating):
            ours = Layouts(self._layouts).from_reference(module, as_numpy(own), value, incoming)
        else:
            ours = self.from_reference(module, value, incoming=incoming)
        ours = ours if own is None else shaped(ours, tuple(own.shape))
        array = mx.array(ours, dtype=mx.float64) if double else mx.array(ours)
        if own is None or double or not mx.issubdtype(array.dtype, mx.floating):
            return array
        # a caller that lost precision is to blame for it, and not the module that it calls
        return array.astype(own.dtype if own.dtype == mx.float32 else DTYPES[self.dtype])


def as_numpy(array: mx.array) -> np.ndarray:
    """The same in NumPy, which has no bfloat16."""
    return np.array(array.astype(mx.float32) if array.dtype in (mx.float16, mx.bfloat16) else array)


def _packing(module: nn.Module) -> dict[str, Any]:
    """How a module's weight is packed, as `mx.quantize` wants it."""
    how = {"group_size": module.group_size, "bits": module.bits}
    return how | ({"mode": module.mode} if hasattr(module, "mode") else {})


def _packed_in(module: nn.Module) -> mx.Dtype:
    """The dtype in which a module's weight was packed: a loader may widen scales that are stored in half precision."""
    scales, own = module.scales, module.scales.dtype
    halves = (one for one in (mx.float16, mx.bfloat16) if mx.array_equal(scales.astype(one).astype(own), scales))
    return next(halves, own)


def _copied(value: Any) -> Any:
    """A copy of a module whose parameters can be replaced; what is no module, such as a function, is shared."""
    if isinstance(value, nn.Module):
        module = type(value).__new__(type(value))
        module.__dict__.update(value.__dict__)
        dict.update(module, {name: _copied(item) for name, item in value.items()})
        return module
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(item) for item in value)
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return value


def _swapped(array: mx.array, channels_first: bool) -> mx.array:
    """[batch, channels, time] to [batch, time, channels] or back; arrays of another rank stay."""
    return array.transpose(0, 2, 1) if channels_first and array.ndim == 3 else array
