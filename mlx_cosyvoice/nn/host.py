"""Element-wise functions on the CPU, by NumPy.

MLX's CPU backend evaluates transcendental functions one number at a time, on one thread (15 to 70 ns an element), and
compiling them needs a C++ compiler where the package runs. NumPy's loops are vectorised for every processor and release
the interpreter's lock, and its arrays share memory with MLX's. So a function here evaluates its input, lets a few
threads work through it in pieces that stay in the processor's cache, and hands back an MLX array. All arithmetic is
float32, whatever the input's type.

These functions end the lazy graph of their input, so they cannot be part of a function under `mx.compile`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.nn.blas_threads import one_blas_thread

#: Elements that one call of a kernel works on: a few buffers of this size fit into a core's cache, and the threads
#: do not meet at the interpreter's lock too often.
TILE = 1 << 16
#: Fewer numbers than this are not worth a visit to the host, which ends the graph.
FEW = 1 << 12
#: A smaller weight is not worth it either.
SMALL_WEIGHT = 1 << 15
#: Numbers of a weight that one matrix product with a vector works on.
PIECE = 1 << 18

#: (rows of the input [n, C], rows of the output to fill). The input must stay as it is.
Kernel = Callable[[np.ndarray, np.ndarray], None]


def _thread_count() -> int:
    """As many as the BLAS library uses: its environment variables, or the processors of this process."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdecimal() and int(value):
            return int(value)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


THREADS = _thread_count()
_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def _forget_pool() -> None:
    """A forked process does not inherit the threads."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def in_threads(work: Callable[[int, int], object], count: int, size: int, threads: int | None = None) -> None:
    """Call work(start, end) on consecutive pieces of range(count), `size` long, in several threads: this one too.

    `threads`: at most so many; None for `THREADS`.

    Raises:
        Exception: what `work` raised; pieces that were not begun by then are left out.
    """
    global _pool
    starts = iter(range(0, count, size))
    lock = threading.Lock()

    def worker() -> None:
        with np.errstate(all="ignore"):
            while True:
                with lock:
                    start = next(starts, None)
                if start is None:
                    return
                work(start, min(start + size, count))

    helpers = min(threads or THREADS, -(-count // size)) - 1
    if helpers <= 0:
        worker()
        return
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(THREADS, thread_name_prefix="mlx-cosyvoice")
    others = [_pool.submit(worker) for _ in range(helpers)]
    try:
        worker()
    finally:
        # even when this thread failed: the others write to memory that the caller may free
        wait(others)
    for other in others:
        other.result()


def view(x: mx.array) -> np.ndarray:
    """The memory of an evaluated array, writable."""
    return np.array(x, copy=False)


def elementwise(kernel: Kernel, x: mx.array) -> mx.array:
    """`kernel` on an array of any shape; rows are its last axis."""
    if not x.size:
        return x
    source, target = mx.contiguous(x.astype(mx.float32)), mx.zeros(x.shape)
    mx.eval(source, target)
    columns = x.shape[-1] if x.ndim else 1
    given, out = view(source).reshape(-1, columns), view(target).reshape(-1, columns)
    # few pieces are done sooner by one thread: the others would mostly wait for the interpreter's lock
    threads = THREADS if x.size >= 4 * TILE else 1
    in_threads(lambda a, b: kernel(given[a:b], out[a:b]), len(given), max(1, TILE // columns), threads)
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


def tanh(x: np.ndarray, out: np.ndarray) -> None:
    np.tanh(x, out=out)


def exp(x: np.ndarray, out: np.ndarray) -> None:
    np.exp(x, out=out)


def sin(x: np.ndarray, out: np.ndarray) -> None:
    np.sin(x, out=out)


def cos(x: np.ndarray, out: np.ndarray) -> None:
    np.cos(x, out=out)


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


def matrix_vector(weight: mx.array, x: mx.array) -> mx.array:
    """weight [out, in] times the single row of x [..., in], float32: [..., out].

    MLX hands such a product to the BLAS as one of two matrices, which copies the weight before it reads it. The pieces
    are the same however many threads there are: how a BLAS shares out the rows decides about the last bit of some.
    """
    mx.eval(weight, x)
    rows, vector = view(weight), view(x).reshape(-1)
    product = np.empty(len(rows), np.float32)
    with one_blas_thread():
        in_threads(lambda a, b: np.dot(rows[a:b], vector, out=product[a:b]), len(rows), max(1, PIECE // rows.shape[1]))
    return mx.array(product.reshape(*x.shape[:-1], -1))
