"""Gives MLX's Linux CPU backend a fast BLAS.

The Linux wheel of MLX bundles the reference netlib BLAS, which is 40 times slower at matrix products than OpenBLAS.
This loads an OpenBLAS and makes MLX, and nothing else in the process, call it. It does not matter whether `mlx.core`
is imported before or after. On macOS MLX uses Accelerate and Metal, and nothing is done.

`MLX_COSYVOICE_BLAS` overrides the choice: the path of a library with the CBLAS functions under their plain names and
32-bit sizes, or `none`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlx_cosyvoice._rebind import rebind

#: Environment variable: a library's path, or `none` for the BLAS that MLX brings.
VARIABLE = "MLX_COSYVOICE_BLAS"
_WAIT = "OPENBLAS_THREAD_TIMEOUT"


@dataclass(frozen=True)
class Blas:
    """The BLAS that MLX's CPU backend uses in this process.

    Attributes:
        name: what it is, with its version where it says so.
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
    """OpenBLAS libraries: the one from PyPI (built for every x86-64 processor), then the system's."""
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
            ctypes.CDLL(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return


def _open(library: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(library)
    except OSError as error:
        if "libgfortran" not in str(error):
            raise
    _load_fortran_runtime()
    return ctypes.CDLL(library)


@contextmanager
def _brief_waits() -> Iterator[None]:
    """OpenBLAS's threads, once loaded within, wait busily for their next product for 2^12 clock ticks, not 2^26.

    2^26 ticks, some 25 ms, keep a processor from the threads of `mlx_cosyvoice.nn.cpu`, which take over meanwhile.
    The library reads its environment once. Who set the variable has decided.
    """
    before = os.environ.get(_WAIT)
    if before is None:
        os.environ[_WAIT] = "12"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_WAIT]


def _use(library: str) -> Blas:
    """Make MLX call the BLAS in `library`.

    Raises:
        OSError: the library cannot be loaded, or MLX cannot be made to call it; the message says why.
    """
    with _brief_waits():
        provider = _open(library)
    if not hasattr(provider, "cblas_sgemm"):
        raise OSError(f"{library}: has no function cblas_sgemm")
    if not any(rebind(ctypes.CDLL(str(path)), provider, "cblas_") for path in _package_files("mlx", "lib/libmlx.so")):
        raise OSError("this build of MLX calls no BLAS library")
    if not hasattr(provider, "openblas_get_config"):
        return Blas(Path(library).name, library)
    describe = provider.openblas_get_config
    describe.restype = ctypes.c_char_p
    return Blas(" ".join(describe().decode().split()[:2]), library)


def _bundled(note: str | None) -> Blas:
    """The BLAS of the MLX wheel; another wheel of MLX for Linux (CUDA, or one built from source) has its own."""
    slow = bool(_package_files("mlx", "../mlx_cpu.libs/libblas-*.so*"))
    return Blas("netlib (bundled with MLX, slow)" if slow else "MLX's own", note=note)


def load() -> Blas:
    """Make MLX use a fast BLAS where there is one, and say which BLAS it uses.

    A wrong `MLX_COSYVOICE_BLAS` is a warning; MLX then keeps its own.
    """
    if sys.platform == "darwin":
        return Blas("Accelerate")
    wish = os.environ.get(VARIABLE, "")
    if wish.lower() == "none" or not sys.platform.startswith("linux"):
        return _bundled(f"{VARIABLE}={wish}" if wish else None)
    for library in [wish] if wish else _candidates():
        try:
            return _use(library)
        except OSError as error:
            if wish:
                blas = _bundled(f"{VARIABLE}={wish} cannot be used: {error}")
                warnings.warn(str(blas), RuntimeWarning, stacklevel=2)
                return blas
    return _bundled("pip install ngsolve-openblas, or install your system's OpenBLAS, to make it fast")


#: The BLAS in use by this process.
BLAS = load()
