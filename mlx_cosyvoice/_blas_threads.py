"""Keeps NumPy's matrix products to the calling thread while our own threads share the work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import threadpoolctl

from mlx_cosyvoice._blas import BLAS

_lock = threading.Lock()
_users = 0
_before: list[int] = []


@cache
def _libraries() -> list[threadpoolctl.LibController]:
    """The BLAS libraries of this process but the one that MLX uses: its products may go on in other threads."""
    return [
        library
        for library in threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
        if library.filepath != BLAS.library
    ]


def _set(library: threadpoolctl.LibController, threads: int) -> None:
    # OpenBLAS has one number for the whole process, and threadpoolctl (from 3.8 on) lets only the thread that set it
    # first change it, silently. Here whichever thread leaves last must put the number back; a lock keeps order.
    let_go = getattr(library, "clear_controlling_thread", lambda force: None)
    let_go(force=True)
    library.set_num_threads(threads)
    let_go(force=True)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """As long as anybody is within it, a matrix product of NumPy uses one thread; afterwards as many as before."""
    global _users
    with _lock:
        if not _users:
            _before[:] = [library.num_threads for library in _libraries()]
            for library in _libraries():
                _set(library, 1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                for library, threads in zip(_libraries(), _before, strict=True):
                    _set(library, threads)
