"""The residual blocks that shape the waveform at each rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx

from mlx_cosyvoice.nn import Conv1d, Module, functional
from mlx_cosyvoice.nn.cache import Cache

#: How many frames beyond one a convolution sees -> how many zeros (left, right) keep the length.
Padding = Callable[[int], tuple[int, int]]


def centered(reach: int) -> tuple[int, int]:
    """As many to both sides."""
    return reach // 2, reach // 2


class Snake(Module):
    """`activations1.N`, `activations2.N`: x + sin(alpha x)^2 / alpha, with one alpha a channel. [B, T, C]."""

    official_axes = "bct"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = mx.ones((channels,))

    def __call__(self, x: mx.array) -> mx.array:
        return functional.snake(x, self.alpha)


class ResBlock(Module):
    """`resblocks.N`, `source_resblocks.N`: residual pairs of a dilated and a plain convolution. [B, T, C]."""

    official_axes = "bct"

    def __init__(self, channels: int, kernel_size: int, dilations: Sequence[int], padding: Padding) -> None:
        super().__init__()

        def conv(dilation: int) -> Conv1d:
            pad = padding((kernel_size - 1) * dilation)
            return Conv1d(channels, channels, kernel_size, pad=pad, dilation=dilation, weight_norm=True)

        self.convs1 = [conv(dilation) for dilation in dilations]
        self.convs2 = [conv(1) for _ in dilations]
        self.activations1 = [Snake(channels) for _ in dilations]
        self.activations2 = [Snake(channels) for _ in dilations]

    def __call__(self, x: mx.array, cache: Cache | None = None) -> mx.array:
        for act1, conv1, act2, conv2 in zip(
            self.activations1, self.convs1, self.activations2, self.convs2, strict=True
        ):
            x = conv2(act2(conv1(act1(x), cache)), cache) + x
        return x
