"""Counts floating-point operations from the shapes that PyTorch's operators are called with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

Shape = tuple[int, ...]


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Of [batch, heads, time, width]: a product with the keys and one with the values."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[2] * (width + value[3])


class _Counter(FlopCounterMode):
    """Torch's own, which knows no attention on CPUs, and watches modules, which weight norm does not survive."""

    def __init__(self) -> None:
        attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        super().__init__(display=False, custom_mapping={attention: _attention})
        unwatched: Any = nullcontext()
        unwatched.parents = {"Global"}
        self.mod_tracker = unwatched


def counted(run: Callable[[], Any]) -> int:
    """Operations of the matrix products, convolutions and attention in `run`, a multiply-add being two.

    Elementwise functions, norms and Fourier transforms are not counted: they are bound by memory or by the cost of a
    function, not by the rate at which matrices are multiplied.
    """
    with _Counter() as counter:
        run()
    return counter.get_total_flops()
