"""Networks before their weights: for names and shapes, or to be filled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode


class _Unfilled(TorchFunctionMode):
    """Leaves out what `torch.nn.init` does, so that no page of a large tensor is touched."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def skeleton(build: Callable[[Mapping[str, Any]], nn.Module], config: Mapping[str, Any]) -> nn.Module:
    """What `build` makes of a configuration, with whatever numbers the memory holds in place of random weights."""
    with _Unfilled():
        return build(config)
