"""CAM++ speaker encoder, after 3D-Speaker's `speakerlab.models.campplus.DTDNN.CAMPPlus`.

A 2-d residual head, a densely connected TDNN whose layers are gated by their context, statistics over time, and a
linear map to the embedding. Two embeddings are compared by their cosine.
"""

from __future__ import annotations

import mlx.core as mx

from mlx_cosyvoice.config import SpeakerEncoderConfig
from mlx_cosyvoice.nn import Module
from mlx_cosyvoice.speaker_encoder.head import HEAD_CHANNELS, Head
from mlx_cosyvoice.speaker_encoder.layers import (
    DenseLayer,
    DenseTDNNBlock,
    Nonlinear,
    StatsPool,
    TDNNLayer,
    TransitLayer,
)

#: Dilation of the convolutions of block1, block2 and block3.
DILATIONS = (1, 2, 2)
#: Fewer leave one frame after the TDNN's stride, which has no standard deviation.
MIN_FRAMES = 3


class XVector(Module):
    """`xvector`: tdnn, three dense blocks with transits, statistics, embedding. [B, T, C] -> [B, embedding_size]."""

    official_input_axes = "bct"

    def __init__(self, in_channels: int, config: SpeakerEncoderConfig) -> None:
        super().__init__()
        channels = config.init_channels
        self.tdnn = TDNNLayer(in_channels, channels)
        for number, (layers, dilation) in enumerate(zip(config.num_layers, DILATIONS, strict=True), start=1):
            self[f"block{number}"] = DenseTDNNBlock(
                channels, layers, config.growth_rate, config.bn_size * config.growth_rate, dilation
            )
            channels += layers * config.growth_rate
            self[f"transit{number}"] = TransitLayer(channels, channels // 2)
            channels //= 2
        self.out_nonlinear = Nonlinear(channels)
        self.stats = StatsPool()
        self.dense = DenseLayer(2 * channels, config.embedding_size)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.tdnn(x)
        for number in range(1, len(DILATIONS) + 1):
            x = self[f"transit{number}"](self[f"block{number}"](x))
        return self.dense(self.stats(self.out_nonlinear(x)))


class CAMPPlus(Module):
    """Kaldi fbank (80 bins, 10 ms hop, mean over time subtracted) to speaker embedding. Official root: `campplus`."""

    def __init__(self, config: SpeakerEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.head = Head()
        self.xvector = XVector(HEAD_CHANNELS * (config.feat_dim // 8), config)

    def __call__(self, fbank: mx.array) -> mx.array:
        """[B, T, feat_dim] -> [B, embedding_size] float32.

        Raises:
            ValueError: the shape is not [B, T, feat_dim], or there are fewer than 3 frames.
        """
        if fbank.ndim != 3 or fbank.shape[2] != self.config.feat_dim:
            raise ValueError(f"fbank must be [batch, frames, {self.config.feat_dim}], not {list(fbank.shape)}")
        if fbank.shape[1] < MIN_FRAMES:
            raise ValueError(f"fbank has {fbank.shape[1]} frames; the speaker encoder needs at least {MIN_FRAMES}")
        fbank = fbank.astype(self.head.conv1.weight.dtype)
        return self.xvector(self.head(fbank)).astype(mx.float32)
