"""Runs the PyTorch reference and the MLX model on the same inputs and says where, and by how much, they part.

`pair = load_pair(checkpoint, model)`, then `localise(pair, stages=["flow_decoder"], streaming=True).culprits`.
"""

import mlx_cosyvoice  # noqa: F401  (loads the BLAS before mlx)
from parity.localise import LocaliseReport, localise
from parity.pair import Pair, load_pair

__all__ = ["LocaliseReport", "Pair", "load_pair", "localise"]
