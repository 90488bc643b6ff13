"""Loads the fast BLAS (see `mlx_cosyvoice._blas`) before any test module imports MLX or PyTorch."""

import mlx_cosyvoice


def pytest_report_header() -> str:
    return f"blas: {mlx_cosyvoice._blas.BLAS}"
