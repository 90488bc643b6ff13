"""`flow` of CosyVoice3, CausalMaskedDiffWithDiT: no encoder, and another estimator."""

from __future__ import annotations

import mlx.core as mx

from mlx_cosyvoice.config import DiTFlowConfig
from mlx_cosyvoice.flow.cfm import CausalConditionalCFM
from mlx_cosyvoice.flow.dit import DiT
from mlx_cosyvoice.flow.masked_diff import CausalMaskedDiff
from mlx_cosyvoice.flow.pre_lookahead import PreLookaheadLayer
from mlx_cosyvoice.mixed import outer_dtype
from mlx_cosyvoice.nn.cache import Cache


class CausalMaskedDiffWithDiT(CausalMaskedDiff):
    """The flow stage whose mu is the embedded tokens, smoothed and repeated; the estimator alone has a mask."""

    def __init__(self, config: DiTFlowConfig) -> None:
        super().__init__(config)
        layer = config.pre_lookahead_layer
        self.pre_lookahead_layer = PreLookaheadLayer(layer.in_channels, layer.channels, layer.pre_lookahead_len)
        self.decoder = CausalConditionalCFM(config.decoder, DiT(config.decoder.estimator))

    @property
    def chunk_size(self) -> int:
        return self.decoder.estimator.static_chunk_size // self.token_mel_ratio

    @property
    def dtype(self) -> mx.Dtype:
        return outer_dtype(self.pre_lookahead_layer, self.pre_lookahead_layer.conv2)

    def mu(self, x: mx.array, context: mx.array | None, *, streaming: bool, cache: Cache | None = None) -> mx.array:
        return mx.repeat(self.pre_lookahead_layer(x, context, cache), self.token_mel_ratio, axis=1)
