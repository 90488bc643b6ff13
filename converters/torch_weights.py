"""Reads official `.pt` files: tensors only, mapped from disk, never executing what a pickle may carry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from converters.errors import CheckpointError
from converters.pt_archive import load

#: Counters that the official trainer stores beside the tensors; the published files have none. Nothing else is skipped.
COUNTERS = ("epoch", "step")


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_quantized


def open_pt(path: str | Path, prefix: str = "", *, verify: bool = True) -> dict[str, torch.Tensor]:
    """The tensors of a state dict file; their data are read from disk when they are used.

    The entries `epoch` and `step` are skipped when they are numbers, as the official trainer leaves them.

    Args:
        path: `llm.pt`, `flow.pt` or `hift.pt`.
        prefix: taken off the keys that have it; `hift.pt` has "generator.".

    Raises:
        CheckpointError: no such file, cut off or damaged, carrying code, or with an entry that is not a tensor of
            floats; file and key are named.
    """
    path = Path(path)
    state = load(path, verify=verify)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, not a state dict. Is it the right file?")
    tensors: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if key in COUNTERS and isinstance(value, (int, float)):
            continue
        if not isinstance(key, str) or not isinstance(value, torch.Tensor) or not _is_plain(value):
            raise CheckpointError(
                f"{path}: entry {key!r} is of type {type(value).__name__}, not a plain tensor. Is it the right file?"
            )
        name = key.removeprefix(prefix)
        if name in tensors:
            raise CheckpointError(f"{path}: has both {name!r} and {prefix + name!r}")
        tensors[name] = value
    return tensors


def as_float32(tensor: torch.Tensor, key: str, where: str | Path) -> np.ndarray:
    """A tensor as a float32 array, without a copy where it is one already.

    Raises:
        CheckpointError: it is not of floats, or holds NaN or infinite values; `where` (the file) and `key` are named.
    """
    if not tensor.is_floating_point():
        raise CheckpointError(f"{where}: {key} is of type {tensor.dtype}, expected floats")
    array = tensor.detach().to(torch.float32).numpy()
    if not np.isfinite(array).all():
        raise CheckpointError(f"{where}: {key} holds values that are NaN or infinite. Download the file again.")
    return array
