"""PyTorch's side."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from mlx_parity.pairing.layout import shaped
from mlx_parity.sides.base import Side

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


class TorchSide(Side):
    """A PyTorch module that works in `dtype`."""

    name, array_type = "pytorch", torch.Tensor
    #: Whether code that asks for float32 by name gets float64 where the side works in that.
    strict = False

    def is_called(self, path: str, module: Any) -> bool:
        # `parametrizations` hold weights (weight norm); what they return is no activation
        return "parametrizations" not in path and not isinstance(module, torch.nn.ModuleList)

    @classmethod
    def dtype_of(cls, module: torch.nn.Module) -> str:
        counts = Counter[torch.dtype]()
        for tensor in module.parameters():
            counts[tensor.dtype] += tensor.numel() if tensor.is_floating_point() else 0
        names = {dtype: name for name, dtype in DTYPES.items()}
        return names.get(counts.most_common(1)[0][0], "float32") if counts else "float32"

    def converted(self, dtype: str) -> TorchSide:
        if dtype == self.dtype:
            return self
        side = TorchSide(copy.deepcopy(self.module).to(DTYPES[dtype]), dtype)
        side.strict = True
        return side

    def holding_weights(self, weights: Mapping[str, np.ndarray]) -> TorchSide:
        side = TorchSide(copy.deepcopy(self.module), self.dtype)
        side.strict = self.strict
        for path, array in weights.items():
            with torch.no_grad():
                side.module.get_submodule(path).weight.copy_(torch.from_numpy(array))
        return side

    def parameters(self, module: torch.nn.Module) -> dict[str, np.ndarray]:
        left_out = module._non_persistent_buffers_set  # made by the code, not stored
        buffers = {name: tensor for name, tensor in module.named_buffers(recurse=False) if name not in left_out}
        own = dict(module.named_parameters(recurse=False)) | buffers
        own |= {name: getattr(module, name) for name in getattr(module, "parametrizations", {})}
        return {name: _numbers(tensor) for name, tensor in own.items() if tensor.is_floating_point()}

    @contextmanager
    def running(self) -> Iterator[None]:
        with torch.inference_mode(), InFloat64() if self.strict and self.dtype == "float64" else nullcontext():
            yield

    def is_float(self, array: torch.Tensor) -> bool:
        return array.is_floating_point()

    def array(self, value: np.ndarray, *, channels_first: bool = False) -> torch.Tensor:
        tensor = self.plain(value)
        return tensor.to(DTYPES[self.dtype]) if tensor.is_floating_point() else tensor

    def plain(self, value: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(value, order="C"))  # a copy: modules may work in place

    def numpy(self, array: torch.Tensor, *, channels_first: bool = False) -> np.ndarray:
        array = array.detach()
        return (array.to(torch.float64) if array.is_floating_point() else array).numpy()

    def parameters_of(self, module: torch.nn.Module) -> Callable[..., Any]:
        return type(module).forward

    def noted(
        self, module: torch.nn.Module, array: torch.Tensor, *, incoming: bool = False, like: np.ndarray | None = None
    ) -> np.ndarray:
        return _numbers(array).copy()

    def fed(self, module: torch.nn.Module, own: Any, value: np.ndarray, *, incoming: bool = False) -> torch.Tensor:
        if own is None:
            return self.array(value)
        tensor = self.plain(shaped(value, tuple(own.shape)))
        # a caller that lost precision is to blame for it, and not the module that it calls; one may ask for more
        return tensor.to(torch.promote_types(own.dtype, DTYPES[self.dtype])) if tensor.is_floating_point() else tensor


def _numbers(array: torch.Tensor) -> np.ndarray:
    """An array as NumPy has it; no copy where NumPy has its dtype, as weights take gigabytes."""
    array = array.detach()
    halved = array.is_floating_point() and array.dtype != torch.float64
    numbers: np.ndarray = (array.float() if halved else array).numpy()
    return numbers


_TO_FLOAT = {torch.Tensor.float: torch.Tensor.double}


class InFloat64(TorchFunctionMode):
    """A norm or a rotary table that computes in float32 whatever it is given would hide what float32 loses there."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        exact = [torch.float64 if arg is torch.float32 else arg for arg in args]
        named = {name: torch.float64 if arg is torch.float32 else arg for name, arg in (kwargs or {}).items()}
        return _TO_FLOAT.get(func, func)(*exact, **named)
