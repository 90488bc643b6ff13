"""Loading of official `.pt` files into the reference, nothing but tensors and nothing left over."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch

#: Training counters that the official trainer leaves beside the tensors.
COUNTERS = ("epoch", "step")


def load_pt(module: torch.nn.Module, path: Path, prefix: str = "") -> torch.nn.Module:
    """Fill `module` from an official state dict file, strictly. Returns it in evaluation mode.

    Args:
        module: bears the official paths.
        path: `llm.pt`, `flow.pt` or `hift.pt`.
        prefix: what the official trainer put before every key ("generator." in `hift.pt`).

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged or carries code; a key is missing or surplus, or a shape does not fit.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise ValueError(f"{path}: not a state dict")
        tensors = {key.removeprefix(prefix): value for key, value in state.items() if key not in COUNTERS}
    except (RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError) as error:
        raise _error(path, error) from error
    return load_tensors(module, tensors, path)


def load_tensors(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], where: Path) -> torch.nn.Module:
    """Fill `module` with tensors under their official names, strictly. Returns it in evaluation mode.

    Raises:
        ValueError: a key is missing or surplus, or a shape does not fit; `where`, the file, is named.
    """
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise _error(where, error) from error
    return module.eval()


def _error(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: {' '.join(str(error).split())[:500]}")
