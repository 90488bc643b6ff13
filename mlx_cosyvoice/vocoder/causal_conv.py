"""The convolutions of the causal vocoder. Each can run in pieces, [batch, time, channels] in and out."""

from __future__ import annotations

import mlx.core as mx

from mlx_cosyvoice.nn import Conv1d
from mlx_cosyvoice.nn.cache import Cache, followed
from mlx_cosyvoice.vocoder.source import Upsample


def causal(reach: int) -> tuple[int, int]:
    """Zeros (left, right) for a convolution that sees so many frames before each, and none after."""
    return reach, 0


def held_back(x: mx.array, reach: int, finalize: bool, cache: Cache | None = None) -> tuple[mx.array, mx.array | None]:
    """Splits frames into those whose `reach` following ones are known, and these.

    Args:
        x: [B, T, C], the next frames.
        reach: how many frames after a frame a layer looks at.
        finalize: no frames follow: zeros are as good.
        cache: the pieces before, whose last frames still wait.

    Returns:
        [B, N, C], and the context of a layer that looks ahead: [B, reach, C], or None at the end.
    """
    if cache is not None:
        waiting = cache.recalled()
        if waiting is not None:
            x = mx.concatenate([waiting, x], axis=1)
        cache.remember(x[:, x.shape[1] - reach :])
    return (x, None) if finalize else (x[:, :-reach], x[:, -reach:])


class LookaheadConv1d(Conv1d):
    """`conv_pre`, the official `CausalConv1d` of type "right": sees a frame and the `kernel_size - 1` after it."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, weight_norm=True)
        self.reach = kernel_size - 1

    def __call__(self, x: mx.array, context: mx.array | None = None) -> mx.array:  # type: ignore[override]
        """x [B, T, C]; context [B, reach, C] holds the frames that follow, None at the end. Gives [B, T, out]."""
        return super().__call__(followed(x, self.reach, context))


class CausalConv1dUpsample(Conv1d):
    """`ups.N`: repeats every frame `rate` times, then is a causal convolution."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, rate: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, pad=causal(kernel_size - 1), weight_norm=True)
        self.upsample = Upsample(rate)

    def __call__(self, x: mx.array, cache: Cache | None = None) -> mx.array:
        return super().__call__(self.upsample(x), cache)


class CausalConv1dDownSample(Conv1d):
    """`source_downs.N`: a convolution of a stride. At the start stand zeros, one fewer than the stride."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride)

    def __call__(self, x: mx.array, cache: Cache | None = None) -> mx.array:
        before = None if cache is None else cache.recalled()
        if before is None:
            before = mx.zeros((x.shape[0], self.stride - 1, x.shape[2]), x.dtype)
        x = mx.concatenate([before.astype(x.dtype), x], axis=1)
        y = super().__call__(x)
        if cache is not None:
            cache.remember(x[:, y.shape[1] * self.stride :])  # where the next window begins
        return y
