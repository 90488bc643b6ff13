"""What is CosyVoice's own of the two sides: `parity.sides.mlx.MLXSide` knows the layouts of `mlx_cosyvoice`."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlx_parity.sides import Side

#: The method by which users run a whole network, by the side's name.
_ENTRIES = {"mlx": "__call__", "pytorch": "inference"}


def entry(side: Side) -> str:
    """The method by which users run a whole network of this side."""
    return _ENTRIES[side.name]


def token_ids(side: Side, value: np.ndarray) -> Any:
    """Token ids [1, N] as the side's language model wants them."""
    return value[0].tolist() if side.name == "mlx" else side.plain(value)
