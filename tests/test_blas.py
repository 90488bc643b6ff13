"""The BLAS that `mlx_cosyvoice._blas` puts in place: chosen as said, really used, and right."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from mlx_cosyvoice._blas import BLAS, Blas
from tests.support.process import run_python

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only MLX for Linux takes another BLAS")
needs_wheel = pytest.mark.skipif(
    importlib.util.find_spec("ngsolve_openblas") is None, reason="ngsolve-openblas is not installed (x86_64 Linux only)"
)

IMPORT = "import mlx_cosyvoice, mlx.core as mx\n"
LATE = "import mlx.core as mx, mlx_cosyvoice\n"
WITHOUT_WHEEL = "import sys; sys.modules['ngsolve_openblas'] = None\n" + IMPORT
PRODUCT = """
import numpy as np
random = np.random.default_rng(1)
a, b = (random.standard_normal(shape).astype(np.float32) for shape in ((3, 127, 65), (65, 33)))
exact = a.astype(np.float64) @ b.astype(np.float64)
assert np.abs(np.array(mx.matmul(mx.array(a), mx.array(b))) - exact).max() < 1e-4
assert np.abs(np.array(mx.array(a[0]).T @ mx.array(exact[0].astype(np.float32))) - a[0].T @ exact[0]).max() < 1e-2
print(mlx_cosyvoice._blas.BLAS)
"""


@pytest.mark.parametrize("start", [IMPORT, LATE, WITHOUT_WHEEL], ids=["first", "late", "without-wheel"])
@pytest.mark.parametrize("choice", ["", "none", "/no/such/library.so"])
def test_products_are_right_with_every_blas(start: str, choice: str) -> None:
    result = run_python("-c", start + PRODUCT, MLX_COSYVOICE_BLAS=choice)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


@linux_only
@needs_wheel
def test_openblas_is_loaded_by_default_without_a_warning() -> None:
    result = run_python("-W", "error", "-c", IMPORT + PRODUCT)
    assert result.returncode == 0, result.stderr
    assert re.match(r"OpenBLAS \d+\.\d+\S* \(.*ngsolve_openblas.*\)$", result.stdout.strip())


@linux_only
@needs_wheel
@pytest.mark.parametrize(("start", "expected"), [(IMPORT, "libopenblas"), (LATE, "libblas")], ids=["first", "late"])
def test_mlx_is_bound_to_the_blas_that_is_reported(start: str, expected: str, tmp_path: Path) -> None:
    """The dynamic loader itself says where libmlx's matrix product comes from."""
    log = tmp_path / "bindings"
    result = run_python(
        "-c", start + "mx.eval(mx.ones((8, 8)) @ mx.ones((8, 8)))", LD_DEBUG="bindings", LD_DEBUG_OUTPUT=str(log)
    )
    assert result.returncode == 0, result.stderr
    lines = [line for file in tmp_path.glob("bindings.*") for line in file.read_text().splitlines()]
    bound = [
        line.split(" to ")[1] for line in lines if "libmlx.so" in line.split(" to ")[0] and "`cblas_sgemm'" in line
    ]
    assert bound, "the loader did not report libmlx's cblas_sgemm"
    assert all(expected in library for library in bound)


@linux_only
def test_none_leaves_mlx_its_own_blas() -> None:
    result = run_python("-W", "error", "-c", IMPORT + PRODUCT, MLX_COSYVOICE_BLAS="none")
    assert result.returncode == 0, result.stderr
    assert "OpenBLAS" not in result.stdout
    assert "MLX_COSYVOICE_BLAS=none" in result.stdout


@linux_only
@needs_wheel
def test_a_path_is_taken() -> None:
    path = BLAS.library or ""
    if not path:
        pytest.skip("this process runs without OpenBLAS")
    result = run_python("-c", WITHOUT_WHEEL + PRODUCT, MLX_COSYVOICE_BLAS=path)
    assert result.returncode == 0, result.stderr
    assert path in result.stdout


@linux_only
def test_a_wrong_path_is_reported_and_does_no_harm() -> None:
    result = run_python("-c", IMPORT + PRODUCT, MLX_COSYVOICE_BLAS="/no/such/library.so")
    assert result.returncode == 0, result.stderr
    assert "RuntimeWarning" in result.stderr
    assert "MLX_COSYVOICE_BLAS=/no/such/library.so cannot be loaded" in result.stdout


@linux_only
def test_a_late_import_is_reported() -> None:
    result = run_python("-c", LATE + PRODUCT)
    assert "RuntimeWarning" in result.stderr
    assert "import mlx_cosyvoice first" in result.stdout


@linux_only
def test_without_the_wheel_it_says_what_to_do_or_uses_the_systems() -> None:
    result = run_python("-W", "error", "-c", WITHOUT_WHEEL + PRODUCT)
    assert result.returncode == 0, result.stderr
    assert "ngsolve_openblas" not in result.stdout
    assert "OpenBLAS" in result.stdout


@pytest.mark.skipif(sys.platform != "darwin", reason="Accelerate is macOS's")
def test_macos_uses_accelerate() -> None:
    assert Blas("Accelerate") == BLAS


def test_a_blas_reads_as_one_line() -> None:
    assert str(Blas("A")) == "A"
    assert str(Blas("A", "/b.so", "c")) == "A (/b.so); c"
