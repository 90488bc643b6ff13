"""Convolutions as matrix products. [batch, time, channels] in and out, no padding, unless said otherwise.

MLX's CPU kernels for dilated, grouped and transposed convolutions do not go through BLAS, and are up to 150 times
slower than PyTorch's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

Form = Callable[..., mx.array]


def _in_float32(form: Form) -> Form:
    """Sums of half-precision products are taken in float32, as BLAS-backed and Metal kernels do; it is also faster."""

    @functools.wraps(form)
    def convolve(x: mx.array, weight: mx.array, *options: Any) -> mx.array:
        dtype = mx.result_type(x, weight)
        return form(x.astype(mx.float32), weight.astype(mx.float32), *options).astype(dtype)

    return convolve


@_in_float32
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


@_in_float32
def shifted_products(x: mx.array, weight: mx.array, dilation: int) -> mx.array:
    """A convolution of stride 1 as one matrix product a tap."""
    kernel = weight.shape[1]
    length = x.shape[1] - (kernel - 1) * dilation
    out = x[:, :length] @ weight[:, 0].T
    for tap in range(1, kernel):
        start = tap * dilation
        out = mx.addmm(out, x[:, start : start + length], weight[:, tap].T)
    return out


@_in_float32
def shifted_scalings(x: mx.array, weight: mx.array, stride: int, dilation: int) -> mx.array:
    """A depthwise convolution as one elementwise product a tap."""
    kernel = weight.shape[1]
    reach = x.shape[1] - (kernel - 1) * dilation
    out = x[:, :reach:stride] * weight[:, 0, 0]
    for tap in range(1, kernel):
        start = tap * dilation
        out = out + x[:, start : start + reach : stride] * weight[:, tap, 0]
    return out


@_in_float32
def grouped_products(x: mx.array, weight: mx.array, groups: int) -> mx.array:
    """A convolution in groups, of stride 1, as one matrix product a tap and group."""
    batch, length = x.shape[0], x.shape[1] - weight.shape[1] + 1
    out_channels, kernel, width = weight.shape
    rows = mx.contiguous(x.reshape(batch, -1, groups, width).transpose(2, 0, 1, 3))
    taps = mx.contiguous(weight.reshape(groups, 1, -1, kernel, width).transpose(3, 0, 1, 4, 2))
    out = rows[:, :, :length] @ taps[0]
    for tap in range(1, kernel):
        out = mx.addmm(out, rows[:, :, tap : tap + length], taps[tap])
    return out.transpose(1, 2, 0, 3).reshape(batch, length, out_channels)


@_in_float32
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
