"""The two frameworks, as the stages see them: `TorchSide` and `MLXSide`, each in a file that imports its own only."""

import sys
from typing import Any

from mlx_parity.sides.base import Side

__all__ = ["Side", "side_of"]


def side_of(model: Any, dtype: str | None = None) -> Side:
    """The side that runs a model, in the precision of most of its weights.

    Args:
        model: a `torch.nn.Module` or an `mlx.nn.Module`.
        dtype: what it works in, where that is something else.

    Raises:
        TypeError: it is neither.
    """
    import mlx.nn as nn

    from mlx_parity.sides.mlx import MLXSide

    kinds: list[tuple[type, type[Side]]] = [(nn.Module, MLXSide)]
    if sys.modules.get("torch") is not None:
        import torch

        from mlx_parity.sides.pytorch import TorchSide

        kinds.append((torch.nn.Module, TorchSide))
    for module, kind in kinds:
        if isinstance(model, module):
            return kind(model, dtype or kind.dtype_of(model))
    raise TypeError(f"a model is a torch.nn.Module or an mlx.nn.Module, not {type(model).__name__}")
