"""What the package's functions remember of calls before."""

from __future__ import annotations

import gc
from functools import _lru_cache_wrapper


def forget_results() -> None:
    """Let functions that remember what they returned run again, so that it is seen what they run."""
    for remembering in (one for one in gc.get_objects() if type(one) is _lru_cache_wrapper):
        if remembering.__module__.startswith("mlx_cosyvoice."):
            remembering.cache_clear()
