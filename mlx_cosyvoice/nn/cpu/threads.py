"""Work through memory that NumPy shares with MLX, in several threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import mlx.core as mx
import numpy as np


def _thread_count() -> int:
    """As many as the BLAS library uses: its environment variables, or the processors of this process."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdecimal() and int(value):
            return int(value)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


THREADS = _thread_count()
_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def _forget_pool() -> None:
    """A forked process does not inherit the threads."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def in_threads(work: Callable[[int, int], object], count: int, size: int, threads: int | None = None) -> None:
    """Call work(start, end) on consecutive pieces of range(count), `size` long, in several threads: this one too.

    `threads`: at most so many; None for `THREADS`.

    Raises:
        Exception: what `work` raised; pieces that were not begun by then are left out.
    """
    global _pool
    starts = iter(range(0, count, size))
    lock = threading.Lock()

    def worker() -> None:
        with np.errstate(all="ignore"):
            while True:
                with lock:
                    start = next(starts, None)
                if start is None:
                    return
                work(start, min(start + size, count))

    helpers = min(threads or THREADS, -(-count // size)) - 1
    if helpers <= 0:
        worker()
        return
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(THREADS, thread_name_prefix="mlx-cosyvoice")
    others = [_pool.submit(worker) for _ in range(helpers)]
    try:
        worker()
    finally:
        # even when this thread failed: the others write to memory that the caller may free
        wait(others)
    for other in others:
        other.result()


def view(x: mx.array) -> np.ndarray:
    """The memory of an evaluated array, writable."""
    return np.array(x, copy=False)
