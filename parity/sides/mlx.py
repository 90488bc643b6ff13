"""The port's side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.nn.official import input_to_official_axes, input_to_our_axes, to_official_axes, to_our_axes
from parity.sides.base import Side


class MLXSide(Side):
    """A module of `mlx_cosyvoice`, where time is axis 1. It chooses its dtype by itself, at least as fine as `dtype`.

    With `lazy` the results stay MLX arrays (in the official layout still) which nobody has computed yet and that can
    be differentiated; they are accepted as inputs as well.
    """

    name, entry = "mlx", "__call__"

    def __init__(self, module: Any, dtype: mx.Dtype = mx.float32, *, lazy: bool = False) -> None:
        super().__init__(module)
        self.dtype, self.lazy = dtype, lazy

    def array(self, value: Any, *, channels_first: bool = False) -> mx.array:
        return _swapped(value if isinstance(value, mx.array) else mx.array(value), channels_first)

    def plain(self, value: np.ndarray) -> mx.array:
        return mx.array(value)

    def ids(self, value: np.ndarray) -> list[int]:
        return value[0].tolist()

    def official(self, array: mx.array, *, channels_first: bool = False) -> Any:
        array = _swapped(array, channels_first)
        return array if self.lazy else _numpy(array)

    def parameters_of(self, module: nn.Module) -> Callable[..., Any]:
        return type(module).__call__  # type: ignore[operator]

    def noted(self, module: nn.Module, array: mx.array, *, incoming: bool = False) -> np.ndarray:
        return _numpy((input_to_official_axes if incoming else to_official_axes)(module, array))

    def fed(self, module: nn.Module, own: Any, value: np.ndarray, *, incoming: bool = False) -> mx.array:
        double = value.dtype == np.float64 and own is not None and own.dtype == mx.float64
        ours = (input_to_our_axes if incoming else to_our_axes)(module, value)
        array = mx.array(ours, dtype=mx.float64) if double else mx.array(ours)
        if own is None:
            return array
        if array.shape != own.shape and _without_ones(array.shape) == _without_ones(own.shape):
            array = array.reshape(own.shape)
        if double or not mx.issubdtype(array.dtype, mx.floating):
            return array
        # a caller that lost precision is to blame for it, and not the module that it calls
        return array.astype(own.dtype if own.dtype == mx.float32 else self.dtype)


def _swapped(array: mx.array, channels_first: bool) -> mx.array:
    """[batch, channels, time] to [batch, time, channels] or back; arrays of another rank stay."""
    return array.transpose(0, 2, 1) if channels_first and array.ndim == 3 else array


def _numpy(array: mx.array) -> np.ndarray:
    return np.array(array.astype(mx.float32) if array.dtype in (mx.float16, mx.bfloat16) else array)


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    """A table that is broadcast over heads, say, may lack the axis or have one of length 1."""
    return [length for length in shape if length != 1]
