"""Runs PyTorch code in float64 throughout, also where it asks for float32 by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_TO_FLOAT = {torch.Tensor.float: torch.Tensor.double}


class InFloat64(TorchFunctionMode):
    """A norm or a rotary table that computes in float32 whatever it is given would hide what float32 loses there."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        exact = [torch.float64 if arg is torch.float32 else arg for arg in args]
        named = {name: torch.float64 if arg is torch.float32 else arg for name, arg in (kwargs or {}).items()}
        return _TO_FLOAT.get(func, func)(*exact, **named)
