"""The operations of the networks, each in the form that this device is to compute it in (see `backend`).

Both forms give the same (tests compare them), and neither needs a C++ compiler: the functions of `mlx.nn` that are
compiled would start one at their first use on a CPU.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.nn.backend import compiles, in_cpu_form
from mlx_cosyvoice.nn.cpu import attention as cpu_attention
from mlx_cosyvoice.nn.cpu import convolution, elementwise, vector
from mlx_cosyvoice.nn.cpu.attention import Block

Function = Callable[[mx.array], mx.array]


def _pays(size: int, least: int) -> bool:
    """Whether NumPy is to do it, which is sooner done than MLX's CPU backend with `least` numbers or more."""
    return size >= least and in_cpu_form()


def _with(kernel: elementwise.Kernel) -> Callable[[Function], Function]:
    """Of a formula in MLX's operations: on a CPU the kernel is it on many numbers, and few are computed in float32."""

    def decorate(formula: Function) -> Function:
        fused = mx.compile(formula, shapeless=True)

        @functools.wraps(formula)
        def function(x: mx.array) -> mx.array:
            if _pays(x.size, elementwise.FEW):
                return elementwise.apply(kernel, x)
            if in_cpu_form():
                return formula(x.astype(mx.float32)).astype(x.dtype)
            return fused(x) if compiles() else formula(x)

        return function

    return decorate


@_with(elementwise.gelu)
def gelu(x: mx.array) -> mx.array:
    """The exact one (erf), not the tanh approximation."""
    return x * (1 + mx.erf(x * math.sqrt(0.5))) / 2


@_with(elementwise.gelu_tanh)
def gelu_tanh(x: mx.array) -> mx.array:
    """The tanh approximation, torch's `approximate="tanh"`."""
    return x * mx.sigmoid(x * (1.5957691216057308 + 0.07135481627140019 * x * x))


@_with(elementwise.silu)
def silu(x: mx.array) -> mx.array:
    return x * mx.sigmoid(x)


@_with(elementwise.mish)
def mish(x: mx.array) -> mx.array:
    return x * mx.tanh(mx.logaddexp(x, 0))


@_with(elementwise.elu)
def elu(x: mx.array) -> mx.array:
    return mx.where(x > 0, x, mx.expm1(x))


sigmoid = _with(elementwise.sigmoid)(mx.sigmoid)
tanh = _with(np.tanh)(mx.tanh)
exp = _with(np.exp)(mx.exp)
sin = _with(np.sin)(mx.sin)
cos = _with(np.cos)(mx.cos)


def relu(x: mx.array) -> mx.array:
    return mx.maximum(x, 0)


def leaky_relu(x: mx.array, slope: float) -> mx.array:
    return mx.maximum(x, slope * x)


def snake(x: mx.array, alpha: mx.array) -> mx.array:
    """x + sin(alpha x)^2 / alpha in float32, with one alpha a channel; x [B, T, C]."""
    alpha = alpha.astype(mx.float32)  # float16 could not hold the 1e-9, nor sin's large arguments
    if _pays(x.size, elementwise.FEW):
        return elementwise.apply(elementwise.snake(alpha), x)
    wave = mx.sin(x.astype(mx.float32) * alpha)
    return x + (wave * wave * (1 / (alpha + 1e-9))).astype(x.dtype)


def conv1d(x: mx.array, weight: mx.array, *, stride: int = 1, dilation: int = 1, groups: int = 1) -> mx.array:
    """`mx.conv1d` without padding: [B, T, C] with weight [out, kernel, C / groups].

    Raises:
        ValueError: an input shorter than the kernel, or whose channels do not fit the weight.
    """
    _check(x, weight, groups, reach=(weight.shape[1] - 1) * dilation + 1)
    if groups == stride == 1 and in_cpu_form():
        return convolution.shifted_products(x, weight, dilation)
    if groups == x.shape[2] == weight.shape[0] and in_cpu_form():
        return convolution.shifted_scalings(x, weight, stride, dilation)
    if stride == dilation == 1 and in_cpu_form():
        return convolution.grouped_products(x, weight, groups)
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
    if in_cpu_form():
        return convolution.overlapped_products(x, weight, stride, padding)
    return mx.conv_transpose1d(x, weight, stride=stride, padding=padding)


def conv2d(x: mx.array, weight: mx.array, *, stride: tuple[int, int], padding: tuple[int, int]) -> mx.array:
    """`mx.conv2d`: [B, T, F, C] with weight [out, kernel, kernel, C]; `stride` and `padding` are (time, frequency)."""
    if stride[0] == 1 and in_cpu_form():
        return convolution.gathered_products(x, weight, stride[1], padding)
    return mx.conv2d(x, weight, stride=stride, padding=padding)


def _check(x: mx.array, weight: mx.array, groups: int, reach: int) -> None:
    if x.ndim != 3 or x.shape[2] != weight.shape[2] * groups:
        raise ValueError(f"input must be [batch, time, {weight.shape[2] * groups}], not {list(x.shape)}")
    if x.shape[1] < reach:
        raise ValueError(f"input has {x.shape[1]} frames, the convolution needs {reach}")


def linear(x: mx.array, weight: mx.array, bias: mx.array | None = None) -> mx.array:
    """x [..., in] times weight [out, in] transposed, plus bias [out]."""
    single = x.size == x.shape[-1] and x.dtype == weight.dtype == mx.float32
    if single and _pays(weight.size, vector.SMALL_WEIGHT):
        product = vector.matrix_vector(weight, x)
        return product if bias is None else product + bias
    return x @ weight.T if bias is None else mx.addmm(bias, x, weight.T)


def attention(
    q: mx.array, blocks: Sequence[Block], *, scale: float, mask: mx.array | Literal["causal"] | None = None
) -> mx.array:
    """softmax(scale q k^T + mask) v over the keys and values of all blocks.

    Args:
        q: [B, H, T, D]
        blocks: (keys, values), [B, K, S_i, D] each, in any dtype; K divides H, and head h of q uses head h K / H.
        scale: of the scores.
        mask: None; [T, S] bool, True where a query may see a key of the S of all blocks; floats that are added to the
            scores; or "causal": the last query sees all keys, the one before it all but one, and so on.

    Returns:
        [B, H, T, D] in the dtype of q.
    """
    queries, keys = q.shape[2], sum(block[0].shape[2] for block in blocks)
    if _pays(q.shape[1] * queries * keys, cpu_attention.FEW_SCORES):
        if isinstance(mask, str):
            mask = mx.arange(keys)[None] <= mx.arange(keys - queries, keys)[:, None]
        return cpu_attention.attention(q, blocks, scale=scale, mask=mask)
    k, v = (mx.concatenate([block[which] for block in blocks], axis=2).astype(q.dtype) for which in (0, 1))
    if isinstance(mask, mx.array) and mask.dtype != mx.bool_:
        mask = mask.astype(q.dtype)
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)
