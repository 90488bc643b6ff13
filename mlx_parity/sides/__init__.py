"""The two frameworks, as the stages see them: `TorchSide` and `MLXSide`, each in a file that imports its own only."""

from mlx_parity.sides.base import Side

__all__ = ["Side"]
