"""Gives every test the fast BLAS (see `mlx_cosyvoice._blas`), and says at the top of a run which one it is."""

import mlx_cosyvoice


def pytest_report_header() -> str:
    return f"blas: {mlx_cosyvoice._blas.BLAS}"
