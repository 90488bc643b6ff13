"""Loads the fast BLAS (see `mlx_cosyvoice._blas`) before any test module imports MLX or PyTorch."""

import mlx_cosyvoice  # noqa: F401
