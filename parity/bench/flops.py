"""Counts floating-point operations from the shapes that PyTorch's operators are called with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

#: PyTorch's attention on CPUs, which its own table of formulas does not know.
_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> int:
    """[batch, heads, time, width]: a product with the keys and one with the values."""
    batch, heads, queries, width = query.shape
    return 2 * batch * heads * queries * key.shape[2] * (width + value.shape[3])


class _Counter(TorchDispatchMode):
    """Sees every operator. (torch's own FlopCounterMode watches modules too, which weight norm does not survive.)"""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operator = func._overloadpacket
        if operator is _CPU_ATTENTION:
            self.total += _attention(*args, **kwargs)
        elif operator in flop_registry:
            output = func(*args, **kwargs)
            self.total += flop_registry[operator](*args, **kwargs, out_val=output)
            return output
        else:
            with self:  # an operator made of others, such as `linear` in inference mode
                output = func.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        return func(*args, **kwargs)


def counted(run: Callable[[], Any]) -> int:
    """Operations of the matrix products, convolutions and attention in `run`, a multiply-add being two.

    Elementwise functions, norms and Fourier transforms are not counted: they are bound by memory or by the cost of a
    function, not by the rate at which matrices are multiplied.
    """
    with _Counter() as counter:
        run()
    return counter.total
