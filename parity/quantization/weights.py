"""Whether a component has packed weights."""

from __future__ import annotations

import mlx.nn as nn

from mlx_cosyvoice.quantize import quantized_modules
from parity.pair import Pair


def is_quantized(pair: Pair, component: str) -> bool:
    model = getattr(pair.model, component, None) if component else None
    return isinstance(model, nn.Module) and bool(quantized_modules(model))
