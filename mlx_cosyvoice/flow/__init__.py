"""Speech tokens to mel: features of the tokens, and a flow-matching decoder solved in Euler steps."""

from mlx_cosyvoice.flow.cfm import CausalConditionalCFM
from mlx_cosyvoice.flow.encoder import UpsampleConformerEncoder
from mlx_cosyvoice.flow.estimator import CausalConditionalDecoder
from mlx_cosyvoice.flow.flow import CausalMaskedDiffWithXvec
from mlx_cosyvoice.flow.flow_dit import CausalMaskedDiffWithDiT
from mlx_cosyvoice.flow.masked_diff import CausalMaskedDiff

__all__ = [
    "CausalConditionalCFM",
    "CausalConditionalDecoder",
    "CausalMaskedDiff",
    "CausalMaskedDiffWithDiT",
    "CausalMaskedDiffWithXvec",
    "UpsampleConformerEncoder",
]
