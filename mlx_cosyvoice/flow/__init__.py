"""Speech tokens to mel: a chunk-causal encoder, and a flow-matching decoder solved in Euler steps."""

from mlx_cosyvoice.flow.cfm import CausalConditionalCFM
from mlx_cosyvoice.flow.encoder import UpsampleConformerEncoder
from mlx_cosyvoice.flow.estimator import CausalConditionalDecoder
from mlx_cosyvoice.flow.flow import CausalMaskedDiffWithXvec

__all__ = [
    "CausalConditionalCFM",
    "CausalConditionalDecoder",
    "CausalMaskedDiffWithXvec",
    "UpsampleConformerEncoder",
]
