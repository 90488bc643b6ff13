"""The 2-d head of CAM++ (`FCM`): residual convolutions over time and frequency, [batch, time, frequency, channels]."""

from __future__ import annotations

import mlx.core as mx

from mlx_cosyvoice.nn import BatchNorm, Conv2d, Module, Sequential, functional

#: Channels throughout the head; its three stages of stride 2 leave an eighth of the frequencies.
HEAD_CHANNELS = 32


def _conv3x3(in_channels: int, out_channels: int, stride: int) -> Conv2d:
    return Conv2d(in_channels, out_channels, 3, stride=(stride, 1), padding=(1, 1))


class ResidualBlock(Module):
    """`BasicResBlock`: two 3x3 convolutions; `stride` halves frequency, never time."""

    official_axes = "bcft"

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels, channels, stride)
        self.bn1 = BatchNorm(channels, official_axes="bcft")
        self.conv2 = _conv3x3(channels, channels, 1)
        self.bn2 = BatchNorm(channels, official_axes="bcft")
        if stride == 1:
            self.shortcut = Sequential(official_axes="bcft")
        else:
            self.shortcut = Sequential(
                Conv2d(channels, channels, 1, stride=(stride, 1)),
                BatchNorm(channels, official_axes="bcft"),
                official_axes="bcft",
            )

    def __call__(self, x: mx.array) -> mx.array:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Head(Module):
    """`head`: fbank [B, T, F] -> [B, T, channels * F / 8], the channel being the slow index of the flattened axis."""

    official_axes = "bct"

    def __init__(self, channels: int = HEAD_CHANNELS) -> None:
        super().__init__()
        self.conv1 = _conv3x3(1, channels, 1)
        self.bn1 = BatchNorm(channels, official_axes="bcft")
        self.layer1 = Sequential(ResidualBlock(channels, 2), ResidualBlock(channels, 1), official_axes="bcft")
        self.layer2 = Sequential(ResidualBlock(channels, 2), ResidualBlock(channels, 1), official_axes="bcft")
        self.conv2 = _conv3x3(channels, channels, 2)
        self.bn2 = BatchNorm(channels, official_axes="bcft")

    def __call__(self, fbank: mx.array) -> mx.array:
        x = functional.relu(self.bn1(self.conv1(fbank[..., None])))
        x = self.layer2(self.layer1(x))
        x = functional.relu(self.bn2(self.conv2(x)))
        return x.swapaxes(2, 3).flatten(2)
