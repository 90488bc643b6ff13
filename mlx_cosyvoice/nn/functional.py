"""Activations and attention, each as the device does it best: MLX's own on Metal, `host` on the CPU.

Every function gives what the plain MLX form gives (tests compare them), and no function needs a C++ compiler: those of
`mlx.nn` that are compiled would start one at their first use on the CPU.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.nn import host, host_attention
from mlx_cosyvoice.nn.host_attention import Block


class _Mode(threading.local):
    differentiable = False


_mode = _Mode()


@contextmanager
def differentiable() -> Iterator[None]:
    """Within, this thread's calls consist of MLX's operations alone, so that `mx.vjp` and the like see through them.

    A visit to the host ends the graph: what comes back is a constant, and derivatives by it are silently zero.
    """
    before, _mode.differentiable = _mode.differentiable, True
    try:
        yield
    finally:
        _mode.differentiable = before


def on_cpu() -> bool:
    return mx.default_device().type == mx.cpu


def worth_a_visit(size: int, least: int) -> bool:
    """Whether the host does `size` numbers sooner than MLX, and may."""
    return size >= least and on_cpu() and not _mode.differentiable


def _elementwise(
    x: mx.array, metal: Callable[[mx.array], mx.array], kernel: host.Kernel, plain: Callable[[mx.array], mx.array]
) -> mx.array:
    """The form for this device; on the CPU a few numbers are not worth a visit to the host, which ends the graph."""
    if worth_a_visit(x.size, host.FEW):
        return host.elementwise(kernel, x)
    return plain(x.astype(mx.float32)).astype(x.dtype) if on_cpu() else metal(x)


def gelu(x: mx.array) -> mx.array:
    """The exact one (erf), not the tanh approximation."""
    return _elementwise(x, nn.gelu, host.gelu, lambda x: x * (1 + mx.erf(x * math.sqrt(0.5))) / 2)


def silu(x: mx.array) -> mx.array:
    return _elementwise(x, nn.silu, host.silu, lambda x: x * mx.sigmoid(x))


def mish(x: mx.array) -> mx.array:
    return _elementwise(x, nn.mish, host.mish, lambda x: x * mx.tanh(mx.logaddexp(x, 0)))


def elu(x: mx.array) -> mx.array:
    return _elementwise(x, nn.elu, host.elu, lambda x: mx.where(x > 0, x, mx.expm1(x)))


def sigmoid(x: mx.array) -> mx.array:
    return _elementwise(x, mx.sigmoid, host.sigmoid, mx.sigmoid)


def tanh(x: mx.array) -> mx.array:
    return _elementwise(x, mx.tanh, host.tanh, mx.tanh)


def exp(x: mx.array) -> mx.array:
    return _elementwise(x, mx.exp, host.exp, mx.exp)


def sin(x: mx.array) -> mx.array:
    return _elementwise(x, mx.sin, host.sin, mx.sin)


def cos(x: mx.array) -> mx.array:
    return _elementwise(x, mx.cos, host.cos, mx.cos)


def relu(x: mx.array) -> mx.array:
    return mx.maximum(x, 0)


def leaky_relu(x: mx.array, slope: float) -> mx.array:
    return mx.maximum(x, slope * x)


def snake(x: mx.array, alpha: mx.array) -> mx.array:
    """x + sin(alpha x)^2 / alpha in float32, with one alpha a channel; x [B, T, C]."""
    alpha = alpha.astype(mx.float32)  # float16 could not hold the 1e-9, nor sin's large arguments
    if worth_a_visit(x.size, host.FEW):
        return host.elementwise(host.snake(alpha), x)
    wave = mx.sin(x.astype(mx.float32) * alpha)
    return x + (wave * wave * (1 / (alpha + 1e-9))).astype(x.dtype)


def linear(x: mx.array, weight: mx.array, bias: mx.array | None = None) -> mx.array:
    """x [..., in] times weight [out, in] transposed, plus bias [out]."""
    single = x.size == x.shape[-1] and x.dtype == weight.dtype == mx.float32
    if single and worth_a_visit(weight.size, host.SMALL_WEIGHT):
        product = host.matrix_vector(weight, x)
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
    if worth_a_visit(q.shape[1] * queries * keys, host_attention.FEW_SCORES):
        if isinstance(mask, str):
            mask = mx.arange(keys)[None] <= mx.arange(keys - queries, keys)[:, None]
        return host_attention.attention(q, blocks, scale=scale, mask=mask)
    k, v = (mx.concatenate([block[which] for block in blocks], axis=2).astype(q.dtype) for which in (0, 1))
    if isinstance(mask, mx.array) and mask.dtype != mx.bool_:
        mask = mask.astype(q.dtype)
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)
