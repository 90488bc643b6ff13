"""CAM++ speaker encoder (3D-Speaker, `speakerlab.models.campplus.DTDNN.CAMPPlus`) in plain PyTorch.

Kaldi fbank in, speaker embedding out: a small 2-d residual network over frequency and time, then a densely
connected TDNN whose every layer is gated by a context mask (the mean of the whole utterance plus the mean of the
layer's 100-frame segment), then mean and standard deviation over time. Evaluation only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

#: Channels of the 2-d head; its three stages of stride 2 leave feat_dim / 8 frequencies.
HEAD_CHANNELS = 32
#: Dilation of the convolutions of block1, block2 and block3.
DILATIONS = (1, 2, 2)
#: Frames (after the TDNN's stride of 2) that share one local context.
SEGMENT_FRAMES = 100


def nonlinearity(channels: int) -> nn.Sequential:
    """`get_nonlinear("batchnorm-relu")`: children `batchnorm` and `relu`."""
    layers = nn.Sequential()
    layers.add_module("batchnorm", nn.BatchNorm1d(channels))
    layers.add_module("relu", nn.ReLU())
    return layers


def segment_means(x: torch.Tensor) -> torch.Tensor:
    """[B, C, T] -> [B, C, T]: each frame gets the mean of its segment; the last segment counts only its own frames."""
    means = F.avg_pool1d(x, SEGMENT_FRAMES, stride=SEGMENT_FRAMES, ceil_mode=True)
    return means.repeat_interleave(SEGMENT_FRAMES, dim=2)[:, :, : x.shape[2]]


class ResidualBlock(nn.Module):
    """`BasicResBlock`: two 3x3 convolutions; `stride` halves frequency, never time."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Head(nn.Module):
    """`FCM`: [B, F, T] -> [B, channels * F / 8, T], the channel being the slow index of the flattened axis."""

    def __init__(self, channels: int = HEAD_CHANNELS) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(ResidualBlock(channels, 2), ResidualBlock(channels, 1))
        self.layer2 = nn.Sequential(ResidualBlock(channels, 2), ResidualBlock(channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x.unsqueeze(1))))
        x = self.layer2(self.layer1(x))
        return F.relu(self.bn2(self.conv2(x))).flatten(1, 2)


class TDNNLayer(nn.Module):
    """Strided convolution over time: halves the frame rate."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, out_channels, 5, stride=2, padding=2, bias=False)
        self.nonlinear = nonlinearity(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.nonlinear(self.linear(x))


class CAMLayer(nn.Module):
    """Context-aware masking: a local convolution, gated by the global and the segment mean of its input."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(in_channels, in_channels // 2, 1)
        self.relu = nn.ReLU()
        self.linear2 = nn.Conv1d(in_channels // 2, out_channels, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        context = x.mean(2, keepdim=True) + segment_means(x)
        mask = self.sigmoid(self.linear2(self.relu(self.linear1(context))))
        return self.linear_local(x) * mask


class DenseTDNNLayer(nn.Module):
    """`CAMDenseTDNNLayer`: bottleneck, then a `CAMLayer`."""

    def __init__(self, in_channels: int, bottleneck: int, out_channels: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = nonlinearity(in_channels)
        self.linear1 = nn.Conv1d(in_channels, bottleneck, 1, bias=False)
        self.nonlinear2 = nonlinearity(bottleneck)
        self.cam_layer = CAMLayer(bottleneck, out_channels, dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))


class DenseTDNNBlock(nn.Module):
    """`CAMDenseTDNNBlock`: layers `tdnnd1`, `tdnnd2`, ...; each one's output is appended to the channels."""

    def __init__(self, in_channels: int, layers: int, growth: int, bottleneck: int, dilation: int) -> None:
        super().__init__()
        for index in range(layers):
            layer = DenseTDNNLayer(in_channels + index * growth, bottleneck, growth, dilation)
            self.add_module(f"tdnnd{index + 1}", layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class TransitLayer(nn.Module):
    """Halves the channels after a block."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.nonlinear = nonlinearity(in_channels)
        self.linear = nn.Conv1d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.nonlinear(x))


class StatsPool(nn.Module):
    """[B, C, T] -> [B, 2 C]: mean and unbiased standard deviation over time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.mean(2), x.std(2, unbiased=True)], dim=1)


class DenseLayer(nn.Module):
    """The embedding: a linear map and a BatchNorm without scale and bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, out_channels, 1, bias=False)
        self.nonlinear = nn.Sequential()
        self.nonlinear.add_module("batchnorm", nn.BatchNorm1d(out_channels, affine=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.nonlinear(self.linear(x.unsqueeze(2)).squeeze(2))


class CAMPPlus(nn.Module):
    """The whole encoder. `config`: the fields of the official constructor, and `num_layers` of the three blocks."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        growth = config["growth_rate"]
        channels = config["init_channels"]
        self.head = Head()
        self.xvector = nn.Sequential()
        self.xvector.add_module("tdnn", TDNNLayer(HEAD_CHANNELS * (config["feat_dim"] // 8), channels))
        for number, (layers, dilation) in enumerate(zip(config["num_layers"], DILATIONS, strict=True), start=1):
            block = DenseTDNNBlock(channels, layers, growth, config["bn_size"] * growth, dilation)
            self.xvector.add_module(f"block{number}", block)
            channels += layers * growth
            self.xvector.add_module(f"transit{number}", TransitLayer(channels, channels // 2))
            channels //= 2
        self.xvector.add_module("out_nonlinear", nonlinearity(channels))
        self.xvector.add_module("stats", StatsPool())
        self.xvector.add_module("dense", DenseLayer(2 * channels, config["embedding_size"]))

    def forward(self, fbank: torch.Tensor) -> torch.Tensor:
        """[B, T, feat_dim] mean-normalized fbank -> [B, embedding_size]. At least 3 frames, else the result is NaN."""
        return self.xvector(self.head(fbank.transpose(1, 2)))


def build(config: Mapping[str, Any]) -> CAMPPlus:
    """An untrained encoder in evaluation mode; `load_state_dict` accepts 3D-Speaker's keys."""
    return CAMPPlus(config).eval().requires_grad_(False)
