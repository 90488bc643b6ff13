"""Memory that is free, and yet counts as the process's own."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import mlx.core as mx


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """`malloc_trim` of the GNU C library; None elsewhere."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):
        return None
    return trim


def give_back() -> None:
    """Hand what was freed back to the system.

    The GNU C library keeps blocks of up to 32 MB for itself: after a language model in float64, 4 GB. MLX keeps the
    buffers of arrays that are gone.
    """
    mx.clear_cache()
    trim = _trim()
    if trim is not None:
        trim(0)
