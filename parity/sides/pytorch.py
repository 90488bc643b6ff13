"""The reference's side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from parity.sides.base import Side


class TorchSide(Side):
    """A module of the reference, which works in `dtype`."""

    name, entry = "pytorch", "inference"

    def __init__(self, module: Any, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(module)
        self.dtype, self.exact = dtype, dtype == torch.float64

    def is_called(self, path: str, module: Any) -> bool:
        # `parametrizations` hold weights (weight norm); what they return is no activation
        return "parametrizations" not in path and not isinstance(module, torch.nn.ModuleList)

    def array(self, value: np.ndarray, *, channels_first: bool = False) -> torch.Tensor:
        tensor = self.plain(value)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def plain(self, value: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.require(value, requirements=["C", "W"]))

    def ids(self, value: np.ndarray) -> torch.Tensor:
        return self.plain(value)

    def official(self, array: torch.Tensor, *, channels_first: bool = False) -> np.ndarray:
        array = array.detach()
        return (array.to(torch.float64) if array.is_floating_point() else array).numpy()

    def parameters_of(self, module: torch.nn.Module) -> Callable[..., Any]:
        return type(module).forward

    def noted(self, module: torch.nn.Module, array: torch.Tensor, *, incoming: bool = False) -> np.ndarray:
        array = array.detach()
        halved = array.is_floating_point() and array.dtype != torch.float64
        return (array.float() if halved else array).numpy().copy()

    def fed(self, module: torch.nn.Module, own: Any, value: np.ndarray, *, incoming: bool = False) -> torch.Tensor:
        return self.array(value)
