"""Gives MLX's Linux CPU backend a fast BLAS.

The Linux wheel of MLX bundles the reference netlib BLAS, which is 40 times slower at matrix products than OpenBLAS.
Symbols resolve to the first library that offers them globally, so an OpenBLAS that is loaded before `mlx.core` takes
the place of the bundled one; Python binds a module's symbols when it imports it, so afterwards is too late. On macOS
MLX uses Accelerate and Metal, and nothing is done.

`MLX_COSYVOICE_BLAS` overrides the choice: the path of a BLAS library with plain symbol names, or `none`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

#: Environment variable: a library's path, or `none` for the BLAS that MLX brings.
VARIABLE = "MLX_COSYVOICE_BLAS"


@dataclass(frozen=True)
class Blas:
    """The BLAS that MLX's CPU backend uses in this process.

    Attributes:
        name: what it is, with its version where it tells.
        library: the library that was loaded in place of the bundled one, or None.
        note: why it is not the fast one and what to do, or None.
    """

    name: str
    library: str | None = None
    note: str | None = None

    def __str__(self) -> str:
        return self.name + (f" ({self.library})" if self.library else "") + (f"; {self.note}" if self.note else "")


def _package_files(package: str, pattern: str) -> list[Path]:
    """Files of an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    roots = spec.submodule_search_locations if spec else None
    return [path for root in roots or () for path in sorted(Path(root).glob(pattern))]


def _candidates() -> list[str]:
    """OpenBLAS libraries with plain symbol names: the one from PyPI (for every x86-64 processor), then the system's."""
    return [*map(str, _package_files("ngsolve_openblas", "libopenblas*.so*")), "libopenblas.so.0", "libopenblas.so"]


def _load_fortran_runtime() -> None:
    """Make `libgfortran.so.5`, which OpenBLAS needs and a bare machine lacks, known to the loader.

    The MLX wheel carries one under a mangled name. A copy in memory that states its plain name satisfies the loader.

    Raises:
        OSError: this system cannot load a library from memory.
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


def _open(library: str) -> Blas:
    """Load a library for everyone.

    Raises:
        OSError: it cannot be loaded, for the reason that the loader gives.
    """
    try:
        handle = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        if "libgfortran" not in str(error):
            raise
        _load_fortran_runtime()
        handle = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    try:
        describe = handle.openblas_get_config
    except AttributeError:
        return Blas(Path(library).name, library)
    describe.restype = ctypes.c_char_p
    return Blas(" ".join(describe().decode().split()[:2]), library)


def _bundled(note: str | None) -> Blas:
    """The BLAS of the MLX wheel; another wheel of MLX for Linux (CUDA, or one built from source) has its own."""
    slow = bool(_package_files("mlx", "../mlx_cpu.libs/libblas-*.so*"))
    return Blas("netlib (bundled with MLX, slow)" if slow else "MLX's own", note=note)


def load() -> Blas:
    """Load an OpenBLAS if there is one and it is not too late, and say which BLAS MLX uses.

    It warns where somebody has to do something: `mlx.core` was imported first, or `MLX_COSYVOICE_BLAS` is wrong.
    """
    if sys.platform == "darwin":
        return Blas("Accelerate")
    wish = os.environ.get(VARIABLE, "")
    if wish.lower() == "none" or not sys.platform.startswith("linux"):
        return _bundled(f"{VARIABLE}={wish}" if wish else None)
    if "mlx.core" in sys.modules:
        blas = _bundled(
            "mlx.core was imported before mlx_cosyvoice: import mlx_cosyvoice first, matrix products are slow"
        )
        warnings.warn(str(blas), RuntimeWarning, stacklevel=2)
        return blas
    for library in [wish] if wish else _candidates():
        try:
            return _open(library)
        except OSError as error:
            if wish:
                blas = _bundled(f"{VARIABLE}={wish} cannot be loaded: {error}")
                warnings.warn(str(blas), RuntimeWarning, stacklevel=2)
                return blas
    return _bundled("pip install ngsolve-openblas, or install your system's OpenBLAS, to make it fast")


#: The BLAS in use by this process.
BLAS = load()
