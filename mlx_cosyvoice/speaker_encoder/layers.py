"""The time-delay layers of CAM++, [batch, time, channels]."""

from __future__ import annotations

import mlx.core as mx

from mlx_cosyvoice.nn import BatchNorm, Conv1d, Module, ReLU, functional
from mlx_cosyvoice.nn.layers import Activation

#: Frames (after the TDNN's stride of 2) that share one local context.
SEGMENT_FRAMES = 100


class Sigmoid(Activation):
    def __call__(self, x: mx.array) -> mx.array:
        return functional.sigmoid(x)


class Nonlinear(Module):
    """`get_nonlinear("batchnorm-relu")`, or the affine-free "batchnorm_" of the embedding when `affine` is false."""

    official_axes = "bct"

    def __init__(self, channels: int, *, affine: bool = True) -> None:
        super().__init__()
        self.batchnorm = BatchNorm(channels, affine=affine)
        if affine:
            self.relu = ReLU(official_axes="bct")

    def __call__(self, x: mx.array) -> mx.array:
        x = self.batchnorm(x)
        return self.relu(x) if "relu" in self else x


class TDNNLayer(Module):
    """Strided convolution over time: T -> (T - 1) // 2 + 1 frames."""

    official_axes = "bct"

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = Conv1d(in_channels, out_channels, 5, stride=2, pad=(2, 2), bias=False)
        self.nonlinear = Nonlinear(out_channels)

    def __call__(self, x: mx.array) -> mx.array:
        return self.nonlinear(self.linear(x))


def contexts(x: mx.array) -> mx.array:
    """The mean of the utterance plus the mean of each frame's segment, [B, T, C] -> [B, T, C] float32.

    The last segment is divided by the frames it really has; dividing by 100 would weaken the context of its frames.
    """
    x = x.astype(mx.float32)
    frames = x.shape[1]
    segments = -(-frames // SEGMENT_FRAMES)
    padded = mx.pad(x, [(0, 0), (0, segments * SEGMENT_FRAMES - frames), (0, 0)])
    sums = mx.unflatten(padded, 1, (segments, SEGMENT_FRAMES)).sum(axis=2)
    lengths = mx.minimum(frames - SEGMENT_FRAMES * mx.arange(segments), SEGMENT_FRAMES)
    means = mx.repeat(sums / lengths[None, :, None], SEGMENT_FRAMES, axis=1)[:, :frames]
    return x.mean(axis=1, keepdims=True) + means


class CAMLayer(Module):
    """Context-aware masking: a local convolution, gated by the global and the segment mean of its input."""

    official_axes = "bct"

    def __init__(self, in_channels: int, out_channels: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = Conv1d(
            in_channels, out_channels, 3, pad=(dilation, dilation), dilation=dilation, bias=False
        )
        self.linear1 = Conv1d(in_channels, in_channels // 2, 1)
        self.relu = ReLU(official_axes="bct")
        self.linear2 = Conv1d(in_channels // 2, out_channels, 1)
        self.sigmoid = Sigmoid(official_axes="bct")

    def __call__(self, x: mx.array) -> mx.array:
        mask = self.sigmoid(self.linear2(self.relu(self.linear1(contexts(x).astype(x.dtype)))))
        return self.linear_local(x) * mask


class DenseTDNNLayer(Module):
    """`CAMDenseTDNNLayer`: bottleneck, then a `CAMLayer`."""

    official_axes = "bct"

    def __init__(self, in_channels: int, bottleneck: int, out_channels: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = Nonlinear(in_channels)
        self.linear1 = Conv1d(in_channels, bottleneck, 1, bias=False)
        self.nonlinear2 = Nonlinear(bottleneck)
        self.cam_layer = CAMLayer(bottleneck, out_channels, dilation)

    def __call__(self, x: mx.array) -> mx.array:
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))


class DenseTDNNBlock(Module):
    """`CAMDenseTDNNBlock`: layers `tdnnd1`, `tdnnd2`, ...; each one's output is appended to the channels."""

    official_axes = "bct"

    def __init__(self, in_channels: int, layers: int, growth: int, bottleneck: int, dilation: int) -> None:
        super().__init__()
        self.count = layers
        for index in range(layers):
            layer = DenseTDNNLayer(in_channels + index * growth, bottleneck, growth, dilation)
            self[f"tdnnd{index + 1}"] = layer

    def __call__(self, x: mx.array) -> mx.array:
        for index in range(self.count):
            x = mx.concatenate([x, self[f"tdnnd{index + 1}"](x)], axis=2)
        return x


class TransitLayer(Module):
    """Halves the channels after a block."""

    official_axes = "bct"

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.nonlinear = Nonlinear(in_channels)
        self.linear = Conv1d(in_channels, out_channels, 1, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        return self.linear(self.nonlinear(x))


class StatsPool(Module):
    """[B, T, C] -> [B, 2 C]: mean and unbiased standard deviation over time, taken in float32."""

    official_input_axes = "bct"

    def __call__(self, x: mx.array) -> mx.array:
        wide = x.astype(mx.float32)
        return mx.concatenate([wide.mean(axis=1), wide.std(axis=1, ddof=1)], axis=1).astype(x.dtype)


class DenseLayer(Module):
    """The embedding: a linear map and a BatchNorm without scale and bias, on [B, channels]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = Conv1d(in_channels, out_channels, 1, bias=False)
        self.nonlinear = Nonlinear(out_channels, affine=False)

    def __call__(self, x: mx.array) -> mx.array:
        return self.nonlinear(self.linear(x[:, None])[:, 0])
