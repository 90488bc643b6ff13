"""The BLAS that `mlx_cosyvoice._blas` puts in place: chosen as said, really used, and right."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from mlx_cosyvoice._blas import BLAS, Blas
from tests.support.process import run_python

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only MLX for Linux accepts another BLAS")
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
@pytest.mark.parametrize("start", [IMPORT, LATE], ids=["first", "late"])
def test_mlx_calls_the_blas_that_is_reported(start: str) -> None:
    code = """
import ctypes
from mlx_cosyvoice import _blas, _rebind
[path] = _blas._package_files("mlx", "lib/libmlx.so")
provider = ctypes.CDLL(_blas.BLAS.library)
entries = {n: p for n, p in _rebind.table_entries(ctypes.CDLL(str(path))) if n.startswith("cblas_")}
assert "cblas_sgemm" in entries
for name, position in entries.items():
    expected = ctypes.cast(getattr(provider, name), ctypes.c_void_p).value
    assert ctypes.c_void_p.from_address(position).value == expected, name
"""
    result = run_python("-c", start + code)
    assert result.returncode == 0, result.stderr


@linux_only
def test_rebind_decides_what_mlx_calls() -> None:
    """A matrix product that fills its result with sevens shows up in MLX."""
    code = """
import ctypes
from types import SimpleNamespace
import mlx.core as mx
from mlx_cosyvoice import _blas, _rebind

i, f, p = ctypes.c_int, ctypes.c_float, ctypes.POINTER(ctypes.c_float)

@ctypes.CFUNCTYPE(None, i, i, i, i, i, i, f, p, i, p, i, f, p, i)
def sevens(order, left, right, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    for row in range(m):
        for column in range(n):
            c[row * ldc + column] = 7

paths = _blas._package_files("mlx", "lib/libmlx.so")
done = [_rebind.rebind(ctypes.CDLL(str(path)), SimpleNamespace(cblas_sgemm=sevens), "cblas_") for path in paths]
print(done)
product = mx.ones((8, 8)) @ mx.ones((8, 8))
assert not done or (product == 7).all()
"""
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() in ("[]", "[['cblas_sgemm']]")


@linux_only
@needs_wheel
def test_nobody_else_gets_that_blas(tmp_path: Path) -> None:
    """PyTorch and NumPy bring their own. With a few functions exchanged, PyTorch's batched product crashed."""
    code = """
import mlx_cosyvoice, numpy, torch
for m in (1, 4, 33):
    a, b = torch.randn(3, 4, m, 16), torch.randn(3, 4, 16, 21)
    assert torch.allclose((a @ b).double(), a.double() @ b.double(), atol=1e-4)
a = numpy.random.default_rng(0).standard_normal((50, 50))
assert numpy.abs(numpy.linalg.inv(a) @ a - numpy.eye(50)).max() < 1e-8
print(mlx_cosyvoice._blas.BLAS.library)
"""
    result = run_python("-c", code, LD_DEBUG="bindings", LD_DEBUG_OUTPUT=str(tmp_path / "log"))
    assert result.returncode == 0, result.stderr
    library = result.stdout.strip()
    bindings = re.compile(r"binding file (\S+) \[\d+\] to " + re.escape(library))
    bound = {match[1] for log in tmp_path.glob("log.*") for match in bindings.finditer(log.read_text(errors="replace"))}
    assert bound == {library}, "the dynamic loader bound others to it"


@linux_only
@pytest.mark.parametrize("timeout", [None, "20"])
def test_the_environment_is_as_before_once_the_library_is_loaded(timeout: str | None) -> None:
    code = "import os; before = dict(os.environ); import mlx_cosyvoice; assert dict(os.environ) == before"
    variables: dict[str, Any] = {} if timeout is None else {"OPENBLAS_THREAD_TIMEOUT": timeout}
    result = run_python("-c", code, **variables)
    assert result.returncode == 0, result.stderr


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
    assert "MLX_COSYVOICE_BLAS=/no/such/library.so cannot be used" in result.stdout


@linux_only
def test_a_library_that_is_no_blas_is_reported() -> None:
    result = run_python("-c", IMPORT + PRODUCT, MLX_COSYVOICE_BLAS="libm.so.6")
    assert result.returncode == 0, result.stderr
    assert "has no function cblas_sgemm" in result.stdout


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
