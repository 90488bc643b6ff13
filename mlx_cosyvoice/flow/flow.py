"""`flow` of CosyVoice2, CausalMaskedDiffWithXvec."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.config import FlowConfig
from mlx_cosyvoice.flow.cfm import CausalConditionalCFM
from mlx_cosyvoice.flow.encoder import UpsampleConformerEncoder
from mlx_cosyvoice.flow.estimator import CausalConditionalDecoder
from mlx_cosyvoice.flow.masked_diff import CausalMaskedDiff
from mlx_cosyvoice.mixed import outer_dtype
from mlx_cosyvoice.nn.cache import Cache


class CausalMaskedDiffWithXvec(CausalMaskedDiff):
    """The flow stage with a chunk-causal encoder."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__(config)
        self.encoder = UpsampleConformerEncoder(
            config.encoder, lookahead=config.pre_lookahead_len, upsampling=config.token_mel_ratio
        )
        self.encoder_proj = nn.Linear(config.encoder.output_size, config.output_size)
        self.decoder = CausalConditionalCFM(config.decoder, CausalConditionalDecoder(config.decoder.estimator))

    @property
    def chunk_size(self) -> int:
        return self.encoder.static_chunk_size

    @property
    def dtype(self) -> mx.Dtype:
        return outer_dtype(self.encoder, self.encoder.after_norm)

    def mu(self, x: mx.array, context: mx.array | None, *, streaming: bool, cache: Cache | None = None) -> mx.array:
        return self.encoder_proj(self.encoder(x, context, streaming=streaming, cache=cache))
