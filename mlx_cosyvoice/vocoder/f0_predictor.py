"""Mel to fundamental frequency."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.config import F0PredictorConfig
from mlx_cosyvoice.nn import ELU, Conv1d, Module, Sequential


class ConvRNNF0Predictor(Module):
    """`f0_predictor`: mel [B, T, 80] to f0 in Hz [B, T], float32.

    The last layer runs in float32: half precision would round f0 to steps of up to 1 Hz.
    """

    official_input_axes = "bct"

    def __init__(self, config: F0PredictorConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(5):
            width = config.cond_channels if index else config.in_channels
            conv = Conv1d(width, config.cond_channels, 3, pad=(1, 1), weight_norm=True)
            layers += [conv, ELU(official_axes="bct")]
        self.condnet = Sequential(*layers, official_axes="bct")
        self.classifier = nn.Linear(config.cond_channels, config.num_class)

    def __call__(self, mel: mx.array) -> mx.array:
        hidden = self.condnet(mel.astype(self.classifier.weight.dtype))
        return mx.abs(self.classifier(hidden.astype(mx.float32)).squeeze(-1))
