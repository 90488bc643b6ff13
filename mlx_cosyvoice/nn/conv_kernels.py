"""Convolutions, each as the device does it best. [batch, time, channels] in and out, no padding, unless said otherwise.

MLX's own kernels are right for Metal. On the CPU those for dilated, grouped and transposed convolutions do not go
through BLAS and are up to 150 times slower than PyTorch's; there the same sums are written as matrix products. A
strided one does go through BLAS and stays MLX's own.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx


def conv1d(x: mx.array, weight: mx.array, *, stride: int = 1, dilation: int = 1, groups: int = 1) -> mx.array:
    """`mx.conv1d` without padding: [B, T, C] with weight [out, kernel, C / groups].

    Raises:
        ValueError: an input shorter than the kernel, or whose channels do not fit the weight.
    """
    _check(x, weight, groups, reach=(weight.shape[1] - 1) * dilation + 1)
    if mx.default_device().type == mx.cpu:
        if groups == 1 and stride == 1:
            return _in_float32(lambda x, w: shifted_products(x, w, dilation), x, weight)
        if groups == x.shape[2] == weight.shape[0]:
            return _in_float32(lambda x, w: shifted_scalings(x, w, stride, dilation), x, weight)
    return mx.conv1d(x, weight, stride=stride, dilation=dilation, groups=groups)


def conv_transpose1d(x: mx.array, weight: mx.array, *, stride: int = 1, padding: int = 0) -> mx.array:
    """`mx.conv_transpose1d`: [B, T, C] with weight [out, kernel, C], to [B, (T - 1) stride + kernel - 2 padding, out].

    Raises:
        ValueError: channels that do not fit the weight, or padding not smaller than the kernel or leaving no output.
    """
    _check(x, weight, groups=1, reach=1)
    kernel = weight.shape[1]
    if padding >= kernel or (x.shape[1] - 1) * stride + kernel <= 2 * padding:
        # MLX would return an output of the wrong length
        raise ValueError(f"padding {padding} is too large for {x.shape[1]} frames, kernel {kernel}, stride {stride}")
    if mx.default_device().type == mx.cpu:
        return _in_float32(lambda x, w: overlapped_products(x, w, stride, padding), x, weight)
    return mx.conv_transpose1d(x, weight, stride=stride, padding=padding)


def conv2d(x: mx.array, weight: mx.array, *, stride: tuple[int, int], padding: tuple[int, int]) -> mx.array:
    """`mx.conv2d`: [B, T, F, C] with weight [out, kernel, kernel, C]; `stride` and `padding` are (time, frequency)."""
    if mx.default_device().type == mx.cpu and stride[0] == 1:
        return _in_float32(lambda x, w: gathered_products(x, w, stride[1], padding), x, weight)
    return mx.conv2d(x, weight, stride=stride, padding=padding)


def gathered_products(x: mx.array, weight: mx.array, stride: int, padding: tuple[int, int]) -> mx.array:
    """A convolution over time and frequency, as one matrix product a tap in time.

    The taps in frequency are put side by side first, so that what a product reads is one piece of memory: time is the
    outer axis, and its stride is 1.
    """
    out_channels, taps, width, channels = weight.shape
    x = mx.pad(x, [(0, 0), (padding[0], padding[0]), (padding[1], padding[1]), (0, 0)])
    count = (x.shape[2] - width) // stride + 1
    columns = [x[:, :, start : start + (count - 1) * stride + 1 : stride] for start in range(width)]
    x = mx.concatenate(columns, axis=3)
    batch, length = x.shape[0], x.shape[1] - taps + 1
    x = x.reshape(batch, -1, width * channels)
    flat = weight.reshape(out_channels, taps, -1)
    out = x[:, : length * count] @ flat[:, 0].T
    for tap in range(1, taps):
        out = mx.addmm(out, x[:, tap * count : (tap + length) * count], flat[:, tap].T)
    return out.reshape(batch, length, count, out_channels)


def shifted_products(x: mx.array, weight: mx.array, dilation: int) -> mx.array:
    """A convolution of stride 1 as one matrix product a tap."""
    kernel = weight.shape[1]
    length = x.shape[1] - (kernel - 1) * dilation
    out = x[:, :length] @ weight[:, 0].T
    for tap in range(1, kernel):
        start = tap * dilation
        out = mx.addmm(out, x[:, start : start + length], weight[:, tap].T)
    return out


def shifted_scalings(x: mx.array, weight: mx.array, stride: int, dilation: int) -> mx.array:
    """A depthwise convolution as one elementwise product a tap."""
    kernel = weight.shape[1]
    reach = x.shape[1] - (kernel - 1) * dilation
    out = x[:, :reach:stride] * weight[:, 0, 0]
    for tap in range(1, kernel):
        start = tap * dilation
        out = out + x[:, start : start + reach : stride] * weight[:, tap, 0]
    return out


def overlapped_products(x: mx.array, weight: mx.array, stride: int, padding: int) -> mx.array:
    """A transposed convolution: what every frame adds to the output, as one product, then summed where it overlaps."""
    batch, time, channels = x.shape
    out_channels, kernel, _ = weight.shape
    overlap = -(-kernel // stride)
    weight = mx.pad(weight, [(0, 0), (0, overlap * stride - kernel), (0, 0)])
    taps = weight.swapaxes(0, 1).reshape(overlap, stride * out_channels, channels)
    out = mx.zeros((batch, time + overlap - 1, stride * out_channels), dtype=x.dtype)
    for part in range(overlap):
        out = out + mx.pad(x @ taps[part].T, [(0, 0), (part, overlap - 1 - part), (0, 0)])
    length = (time - 1) * stride + kernel
    return out.reshape(batch, -1, out_channels)[:, padding : length - padding]


def _in_float32(kernel: Callable[[mx.array, mx.array], mx.array], x: mx.array, weight: mx.array) -> mx.array:
    """Sums of half-precision products are taken in float32, as BLAS-backed and Metal kernels do; it is also faster."""
    dtype = mx.result_type(x, weight)
    if dtype == mx.float32:
        return kernel(x, weight)
    return kernel(x.astype(mx.float32), weight.astype(mx.float32)).astype(dtype)


def _check(x: mx.array, weight: mx.array, groups: int, reach: int) -> None:
    if x.ndim != 3 or x.shape[2] != weight.shape[2] * groups:
        raise ValueError(f"input must be [batch, time, {weight.shape[2] * groups}], not {list(x.shape)}")
    if x.shape[1] < reach:
        raise ValueError(f"input has {x.shape[1]} frames, the convolution needs {reach}")
