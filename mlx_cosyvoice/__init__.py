"""CosyVoice2, a streaming text-to-speech model, in MLX."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mlx_cosyvoice import _blas  # noqa: F401  (gives MLX a fast BLAS on Linux)

if TYPE_CHECKING:
    from mlx_cosyvoice.model import CosyVoice2, load
    from mlx_cosyvoice.voices import Voice

__version__ = "0.1.0"

__all__ = ["CosyVoice2", "Voice", "__version__", "load"]

#: Public name -> the module that defines it, imported when the name is first used: `mlx-cosyvoice --help` is fast.
_LAZY = {"CosyVoice2": "mlx_cosyvoice.model", "Voice": "mlx_cosyvoice.voices", "load": "mlx_cosyvoice.model"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
