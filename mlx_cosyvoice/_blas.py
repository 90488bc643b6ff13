"""Gives MLX's Linux CPU backend a fast BLAS.

The Linux wheel of MLX bundles the reference netlib BLAS, which is 40 times slower at matrix products than OpenBLAS.
Symbols resolve to the first library that offers them globally, so an OpenBLAS that is loaded before `mlx.core` takes
the place of the bundled one. On macOS MLX uses Accelerate and Metal, and nothing is done.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

NETLIB = "netlib (bundled with mlx-cpu, slow)"


def _package_files(package: str, pattern: str) -> list[Path]:
    """Files of an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    roots = spec.submodule_search_locations if spec else None
    return [path for root in roots or () for path in sorted(Path(root).glob(pattern))]


def _candidates() -> Iterator[str]:
    """OpenBLAS libraries with plain symbol names, the one from PyPI (built for every x86-64 processor) first."""
    yield from map(str, _package_files("ngsolve_openblas", "libopenblas*.so*"))
    system = ctypes.util.find_library("openblas")
    if system:
        yield system


def _load_fortran_runtime() -> None:
    """Make `libgfortran.so.5`, which OpenBLAS needs and a bare machine lacks, known to the loader.

    The MLX wheel carries one under a mangled name. A copy in memory that states its plain name satisfies the loader.
    """
    for bundled in _package_files("mlx", "../mlx_cpu.libs/libgfortran-*.so*"):
        mangled = bundled.name.encode() + b"\0"
        image = bundled.read_bytes()
        if image.count(mangled) != 1:
            continue
        for dependency in bundled.parent.glob("libquadmath-*.so*"):
            ctypes.CDLL(str(dependency))
        descriptor = os.memfd_create("libgfortran.so.5")
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(image.replace(mangled, b"libgfortran.so.5".ljust(len(mangled), b"\0")))
            ctypes.CDLL(f"/proc/self/fd/{descriptor}", mode=ctypes.RTLD_GLOBAL)
        finally:
            os.close(descriptor)
        return


def _open(library: str) -> bool:
    try:
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


def load() -> str:
    """Load an OpenBLAS if there is one and it is not too late. Returns the name of the BLAS that MLX will use."""
    if sys.platform == "darwin":
        return "Accelerate"
    if "mlx.core" in sys.modules:
        return f"{NETLIB}; mlx.core was imported before mlx_cosyvoice, import mlx_cosyvoice first"
    for library in _candidates():
        if _open(library):
            return f"OpenBLAS ({library})"
        _load_fortran_runtime()
        if _open(library):
            return f"OpenBLAS ({library})"
    return f"{NETLIB}; pip install ngsolve-openblas makes it fast"


#: The BLAS in use by this process.
BLAS = load()
