"""Mel to fundamental frequency, causally and in float64.

The vocoder's phase adds up every error of f0, so the official predictor runs in float64, with its weight norm too.
Only the CPU has float64, and so it computes this whatever the device of the rest is: in MLX, so that its layers stay
modules like all others. It is a hundredth of the vocoder's work.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.config import F0PredictorConfig
from mlx_cosyvoice.nn import Conv1d, Module, Sequential
from mlx_cosyvoice.nn.cache import Cache, extended, followed
from mlx_cosyvoice.nn.official import Rule, same
from mlx_cosyvoice.vocoder.causal_conv import causal


class Float64Conv1d(Conv1d):
    """A weight-normed convolution in float64: gain times direction, each as the checkpoint has it, in float32."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, pad: tuple[int, int]) -> None:
        super().__init__(in_channels, out_channels, kernel_size, pad=pad)
        self.gain = mx.zeros((out_channels,))

    def rules(self) -> dict[str, Rule]:
        gain, direction = (f"parametrizations.weight.original{index}" for index in (0, 1))
        return {
            "gain": Rule((gain,), np.ravel),
            "weight": Rule((direction,), lambda weight: weight.transpose(0, 2, 1)),
            "bias": same("bias"),
        }

    def __call__(self, x: mx.array, cache: Cache | None = None) -> mx.array:
        with mx.stream(mx.cpu):
            return self.convolved(extended(x.astype(mx.float64), self.pad[0], cache))

    def convolved(self, x: mx.array) -> mx.array:
        """Without padding; float64 in, float64 out."""
        taps = self.weight.astype(mx.float64).transpose(1, 2, 0)
        length = x.shape[1] - len(taps) + 1
        y = x[:, :length] @ taps[0]
        for tap in range(1, len(taps)):
            y = mx.addmm(y, x[:, tap : tap + length], taps[tap])
        return y * (self.gain.astype(mx.float64) / mx.sqrt(mx.square(taps).sum(axis=(0, 1)))) + self.bias


class Float64LookaheadConv1d(Float64Conv1d):
    """`condnet.0`: sees a frame and the `kernel_size - 1` after it."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, pad=(0, 0))
        self.reach = kernel_size - 1

    def __call__(self, x: mx.array, context: mx.array | None = None) -> mx.array:  # type: ignore[override]
        """x [B, T, C]; context [B, reach, C] holds the frames that follow, None at the end. Gives [B, T, out]."""
        with mx.stream(mx.cpu):
            return self.convolved(followed(x, self.reach, context).astype(mx.float64))


class Float64ELU(Module):
    """ELU in float64."""

    official_axes = "bct"

    def __call__(self, x: mx.array) -> mx.array:
        with mx.stream(mx.cpu):
            return mx.where(x > 0, x, mx.expm1(x))


class CausalConvRNNF0Predictor(Module):
    """`f0_predictor`: mel [B, T, 80] to f0 in Hz [B, T], float32."""

    official_input_axes = "bct"

    def __init__(self, config: F0PredictorConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [Float64LookaheadConv1d(config.in_channels, config.cond_channels, 4), Float64ELU()]
        for _ in range(4):
            layers += [Float64Conv1d(config.cond_channels, config.cond_channels, 3, causal(2)), Float64ELU()]
        self.condnet = Sequential(*layers, official_axes="bct")
        self.classifier = nn.Linear(config.cond_channels, config.num_class)

    @property
    def reach(self) -> int:
        """How many frames after it a frame's f0 depends on."""
        return self.condnet[0].reach

    def __call__(self, mel: mx.array, context: mx.array | None = None, cache: Cache | None = None) -> mx.array:
        """f0 of the next frames.

        Args:
            mel: [B, T, 80], the next frames.
            context: [B, reach, 80], those after them, which are only looked at; None at the end.
            cache: the pieces before.

        Returns:
            [B, T], float32.
        """
        first, *others = self.condnet.layers()
        with mx.stream(mx.cpu):
            x = first(mel, context)
            for layer in others:
                x = layer(x, cache) if isinstance(layer, Conv1d) else layer(x)
            return mx.abs(self.classifier(x).squeeze(-1)).astype(mx.float32)
