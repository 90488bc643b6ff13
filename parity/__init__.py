"""Runs the PyTorch reference and the MLX model on the same inputs and says where, and by how much, they part.

`pair = load_pair(checkpoint, model)`, then `localise(pair, stages=["flow_decoder"], streaming=True).culprits`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.findings import RunReport
    from parity.pair import Pair, load_pair
    from parity.search import localise

__all__ = ["Pair", "RunReport", "load_pair", "localise"]

#: Public name -> its module, imported when the name is first used: a process of the benchmark holds one framework only.
_LAZY = {
    "RunReport": "mlx_parity.findings",
    "Pair": "parity.pair",
    "load_pair": "parity.pair",
    "localise": "parity.search",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
