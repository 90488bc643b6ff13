"""Whether the packed weights of a model are the official ones.

The reference of a quantized model has the model's own weights, unpacked, so these are held
against the checkpoint apart.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.quantize import quantized_modules, unpacked_weight
from parity.compare import EPSILON, Layer, Verdict
from parity.pair import Pair

#: Rounding to the nearest step keeps within half a step; MLX shifts the grid so that zero is on it, and may lose as
#: much again at the other end.
STEPS = 1.05


def is_quantized(pair: Pair, component: str) -> bool:
    model = getattr(pair.model, component, None) if component else None
    return isinstance(model, nn.Module) and bool(quantized_modules(model))


def judge_weights(pair: Pair, component: str) -> Layer:
    """Whether every packed weight is the official one, but for the rounding to the grid."""
    official = pair.original.official_tensor(component)
    allowed, worst, where = 0.0, 0.0, ""
    modules = quantized_modules(getattr(pair.model, component))
    for path, module in modules.items():
        error = np.abs(np.array(unpacked_weight(module)) - official(f"{path}.weight"))
        step = np.abs(np.array(module["scales"].astype(mx.float32)))
        groups = error.reshape(*step.shape, -1).max(axis=-1)
        steps = float((groups / np.maximum(step, np.finfo(np.float32).tiny)).max())
        # scales and weights were themselves rounded to half precision
        half = "bfloat16" if module["scales"].dtype == mx.bfloat16 else "float16"
        bound = STEPS + 2**module.bits * EPSILON[half]
        if not steps / bound <= worst:
            worst, allowed, where = steps / bound, bound, path
    found = f"{len(modules)} packed layers, at most {worst * allowed:.2f} steps off ({where})"
    verdict = Verdict.PASS if worst <= 1 else Verdict.DIVERGED
    reason = found if worst <= 1 else f"{found}, {allowed:.2f} are allowed: not the official weights"
    return Layer("quantized weights", "weights", verdict, error=worst, floor=1.0, reason=reason)
