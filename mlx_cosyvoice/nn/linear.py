"""A linear layer that is also fast for a single row, as in generating one token after the other."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.nn import functional


class Linear(nn.Linear):
    """`torch.nn.Linear`, stored and called like `mlx.nn.Linear`: [..., in] to [..., out]."""

    def __call__(self, x: mx.array) -> mx.array:
        return functional.linear(x, self.weight, self.bias if "bias" in self else None)
