"""Elementwise functions by NumPy.

MLX's CPU backend evaluates transcendental functions one number at a time, on one thread (15 to 70 ns an element), and
compiling them needs a C++ compiler where the package runs. NumPy's loops are vectorized for every processor and release
the interpreter's lock. A few threads work through the input in pieces that stay in the processor's cache. All
arithmetic is float32, whatever the input's type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.nn.cpu import threads
from mlx_cosyvoice.nn.cpu.threads import in_threads, view

#: Elements that one call of a kernel works on: a few buffers of this size fit into a core's cache, and the threads
#: do not meet at the interpreter's lock too often.
TILE = 1 << 16
#: With fewer numbers than this, MLX is sooner done.
FEW = 1 << 12

#: (rows of the input [n, C], rows of the output to fill). The input must stay as it is.
Kernel = Callable[[np.ndarray, np.ndarray], None]


def apply(kernel: Kernel, x: mx.array) -> mx.array:
    """`kernel` on an array of any shape; rows are its last axis."""
    if not x.size:
        return x
    source, target = mx.contiguous(x.astype(mx.float32)), mx.zeros(x.shape)
    mx.eval(source, target)
    columns = x.shape[-1] if x.ndim else 1
    rows, out = view(source).reshape(-1, columns), view(target).reshape(-1, columns)
    # few pieces are done sooner by one thread: the others would mostly wait for the interpreter's lock
    most = threads.THREADS if x.size >= 4 * TILE else 1
    in_threads(lambda a, b: kernel(rows[a:b], out[a:b]), len(rows), max(1, TILE // columns), most)
    return target.astype(x.dtype)


# x Phi(x) is smooth, so Phi(x) - 1/2 = x P(x^2) / Q(x^2) needs no exponential: fitted to an error of 1.2e-8 for
# |x| <= 5.7, where float32 cannot tell Phi from 0 or 1 any more and the quotient is exactly 1/2.
_PHI_P = (3.98942206e-01, 3.49417940e-02, 4.74086797e-03, 1.79400433e-04, 6.37422065e-06, 2.15797269e-08)
_PHI_Q = (1.0, 2.54251557e-01, 2.92610521e-02, 1.94459000e-03, 7.67699169e-05, 1.16494833e-06)
_PHI_END = 5.7


def _polynomial(coefficients: Sequence[float], x: np.ndarray) -> np.ndarray:
    result = np.multiply(x, np.float32(coefficients[-1]))
    for coefficient in coefficients[-2:0:-1]:
        result += np.float32(coefficient)
        result *= x
    result += np.float32(coefficients[0])
    return result


def gelu(x: np.ndarray, out: np.ndarray) -> None:
    np.clip(x, -_PHI_END, _PHI_END, out=out)
    square = np.square(out)
    out *= _polynomial(_PHI_P, square)
    out /= _polynomial(_PHI_Q, square)
    out += np.float32(0.5)
    out *= x


def gelu_tanh(x: np.ndarray, out: np.ndarray) -> None:
    # (1 + tanh a) / 2 is the sigmoid of 2 a, a = sqrt(2 / pi) (x + 0.044715 x^3)
    np.square(x, out=out)
    out *= np.float32(-0.07135481627140019)
    out -= np.float32(1.5957691216057308)
    out *= x
    np.exp(out, out=out)
    out += np.float32(1)
    np.divide(x, out, out=out)


def sigmoid(x: np.ndarray, out: np.ndarray) -> None:
    np.negative(x, out=out)
    np.exp(out, out=out)
    out += np.float32(1)
    np.reciprocal(out, out=out)


def silu(x: np.ndarray, out: np.ndarray) -> None:
    np.negative(x, out=out)
    np.exp(out, out=out)
    out += np.float32(1)
    np.divide(x, out, out=out)


def mish(x: np.ndarray, out: np.ndarray) -> None:
    # tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2), e = exp x; from x = 20 on it is 1
    np.clip(x, -120, 20, out=out)
    np.exp(out, out=out)
    product = out + np.float32(2)
    product *= out
    np.add(product, np.float32(2), out=out)
    np.divide(product, out, out=out)
    out *= x


def elu(x: np.ndarray, out: np.ndarray) -> None:
    np.clip(x, -120, 0, out=out)
    np.exp(out, out=out)
    out -= np.float32(1)
    out += np.maximum(x, np.float32(0))


def snake(alpha: mx.array) -> Kernel:
    """x + sin(alpha x)^2 / alpha, with alpha [C], float32."""
    mx.eval(alpha)
    rate = view(alpha)
    amplitude = 1 / (rate + np.float32(1e-9))

    def kernel(x: np.ndarray, out: np.ndarray) -> None:
        np.multiply(x, rate, out=out)
        np.sin(out, out=out)
        np.square(out, out=out)
        out *= amplitude
        out += x

    return kernel
