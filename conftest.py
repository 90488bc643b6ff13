"""Loads PyTorch and the fast BLAS (see `mlx_cosyvoice._blas`), in this order, before any test module does.

PyTorch carries its own BLAS, but takes symbols of a global one that is there first; its batched products then crash.
"""

import torch  # noqa: F401

import mlx_cosyvoice  # noqa: F401
