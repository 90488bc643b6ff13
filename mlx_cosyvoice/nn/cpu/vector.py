"""The product of a matrix and a vector, as in generating one token after the other."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_cosyvoice._blas_threads import one_blas_thread
from mlx_cosyvoice.nn.cpu.threads import in_threads, view

#: With a smaller weight, MLX is sooner done.
SMALL_WEIGHT = 1 << 15
#: Numbers of a weight that one product works on.
PIECE = 1 << 18


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
