"""The CPU's convolutions against MLX's own, over many shapes."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.nn import Conv1d, ConvTranspose1d, functional
from mlx_cosyvoice.nn.backend import device_form
from mlx_cosyvoice.nn.cpu import convolution

small = st.integers(1, 6)


def random(seed: int, *shape: int) -> mx.array:
    return mx.array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def assert_equal(ours: mx.array, native: mx.array) -> None:
    assert ours.shape == native.shape
    assert ours.dtype == native.dtype
    scale = float(mx.abs(native).max()) + 1e-6
    assert float(mx.abs(ours - native).max()) <= 1e-4 * scale


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), small, small, st.integers(1, 11), st.integers(1, 5), st.integers(0, 20), st.integers(0, 99))
def test_dilated_equals_native(batch, channels, out, kernel, dilation, extra, seed):
    x = random(seed, batch, (kernel - 1) * dilation + 1 + extra, channels)
    weight = random(seed + 1, out, kernel, channels)
    assert_equal(functional.conv1d(x, weight, dilation=dilation), mx.conv1d(x, weight, dilation=dilation))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), small, st.integers(1, 7), st.integers(1, 3), st.integers(1, 3), st.integers(0, 20))
def test_depthwise_equals_native(batch, channels, kernel, stride, dilation, extra):
    x = random(extra, batch, (kernel - 1) * dilation + 1 + extra, channels)
    weight = random(kernel, channels, kernel, 1)
    options = {"stride": stride, "dilation": dilation, "groups": channels}
    assert_equal(functional.conv1d(x, weight, **options), mx.conv1d(x, weight, **options))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), small, small, st.integers(1, 16), st.integers(1, 8), st.integers(0, 5), st.integers(1, 20))
def test_transposed_equals_native(batch, channels, out, kernel, stride, padding, time):
    x, weight = random(time, batch, time, channels), random(kernel, out, kernel, channels)
    if padding >= kernel or (time - 1) * stride + kernel <= 2 * padding:
        with pytest.raises(ValueError, match="is too large"):
            functional.conv_transpose1d(x, weight, stride=stride, padding=padding)
        return
    assert_equal(
        functional.conv_transpose1d(x, weight, stride=stride, padding=padding),
        mx.conv_transpose1d(x, weight, stride=stride, padding=padding),
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 7), st.integers(1, 4), st.integers(0, 9))
def test_strided_and_grouped_equal_native(groups, width, kernel, stride, extra):
    x = random(extra, 2, kernel + extra, groups * width)
    weight = random(kernel, groups * 2, kernel, width)
    if groups > 1 and stride == 1:
        assert_equal(convolution.grouped_products(x, weight, groups), mx.conv1d(x, weight, groups=groups))
    assert_equal(
        functional.conv1d(x, weight, stride=stride, groups=groups),
        mx.conv1d(x, weight, stride=stride, groups=groups),
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), small, small, st.integers(1, 3), small, small, st.integers(1, 3), st.integers(0, 2))
def test_two_dimensional_equals_native(batch, channels, out, kernel, time, frequency, stride, padding):
    x = random(time, batch, time + kernel, frequency + kernel, channels)
    weight = random(kernel, out, kernel, kernel, channels)
    for strides in ((1, stride), (stride, 1)):
        options: dict[str, Any] = {"stride": strides, "padding": (padding, min(1, padding))}
        assert_equal(functional.conv2d(x, weight, **options), mx.conv2d(x, weight, **options))


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_sums_in_float32(dtype):
    x, weight = random(0, 1, 40, 64).astype(dtype), random(1, 8, 7, 64).astype(dtype)
    exact = functional.conv1d(x.astype(mx.float32), weight.astype(mx.float32), dilation=2)
    ours = functional.conv1d(x, weight, dilation=2)
    assert ours.dtype == dtype
    assert mx.array_equal(ours, exact.astype(dtype))


def test_other_devices_keep_their_own_kernels(monkeypatch):
    x, weight = random(0, 1, 20, 4), random(1, 5, 3, 4)
    for name in ("shifted_products", "shifted_scalings", "overlapped_products", "gathered_products"):
        monkeypatch.delattr(convolution, name)
    image, kernel = random(0, 1, 9, 8, 4), random(1, 5, 3, 3, 4)
    options: dict[str, Any] = {"stride": (1, 2), "padding": (1, 1)}
    with device_form():
        assert mx.array_equal(functional.conv1d(x, weight, dilation=3), mx.conv1d(x, weight, dilation=3))
        assert mx.array_equal(functional.conv2d(image, kernel, **options), mx.conv2d(image, kernel, **options))
        up = functional.conv_transpose1d(x, weight, stride=2)
    assert mx.array_equal(up, mx.conv_transpose1d(x, weight, stride=2))


def test_the_layers_use_them():
    """Each layer's output is the native one's, with its padding and bias."""
    x = random(0, 2, 30, 6)
    conv = Conv1d(6, 4, 3, dilation=3, pad=(5, 1))
    conv.weight, conv.bias = random(1, 4, 3, 6), random(2, 4)
    padded = mx.pad(x, [(0, 0), (5, 1), (0, 0)])
    assert_equal(conv(x), mx.conv1d(padded, conv.weight, dilation=3) + conv.bias)
    up = ConvTranspose1d(6, 4, 11, stride=5, padding=3)
    up.weight, up.bias = random(3, 4, 11, 6), random(4, 4)
    assert_equal(up(x), mx.conv_transpose1d(x, up.weight, stride=5, padding=3) + up.bias)


def test_wrong_inputs_are_named():
    weight = random(0, 4, 7, 6)
    with pytest.raises(ValueError, match=r"must be \[batch, time, 6\], not \[1, 20, 5\]"):
        functional.conv1d(random(1, 1, 20, 5), weight)
    with pytest.raises(ValueError, match="has 12 frames, the convolution needs 13"):
        functional.conv1d(random(1, 1, 12, 6), weight, dilation=2)
    with pytest.raises(ValueError, match="has 0 frames"):
        functional.conv_transpose1d(mx.zeros((1, 0, 6)), weight, stride=2)
