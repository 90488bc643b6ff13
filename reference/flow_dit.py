"""The flow stage of CosyVoice3, `cosyvoice.flow.flow.CausalMaskedDiffWithDiT`: no encoder, and another estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from reference.dit import DiT
from reference.flow import CausalConditionalCFM, CausalMaskedDiff
from reference.upsample_encoder import PreLookaheadLayer


class CausalMaskedDiffWithDiT(CausalMaskedDiff):
    """The whole stage; its state dict is `flow.pt`. `config` has the fields of `DiTFlowConfig`.

    `streaming` changes nothing but the estimator's mask.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        layer = config["pre_lookahead_layer"]
        self.pre_lookahead_layer = PreLookaheadLayer(
            layer["in_channels"], layer["channels"], layer["pre_lookahead_len"]
        )
        self.decoder = CausalConditionalCFM(config["decoder"], DiT(config["decoder"]["estimator"]))

    def mu(self, x: Tensor, context: Tensor | None, *, streaming: bool) -> Tensor:
        return self.pre_lookahead_layer(x, context).repeat_interleave(self.token_mel_ratio, dim=1)


def build(config: Mapping[str, Any]) -> CausalMaskedDiffWithDiT:
    """The flow stage of `config` (the fields of `DiTFlowConfig`, nested), in evaluation mode, with random weights."""
    return CausalMaskedDiffWithDiT(config).eval().requires_grad_(False)
