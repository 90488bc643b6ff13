"""Loading of official `.pt` files into the reference, nothing but tensors and nothing left over."""

from __future__ import annotations

import pickle
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
        tensors = {key.removeprefix(prefix): value for key, value in state.items() if key not in COUNTERS}
        module.load_state_dict(tensors, strict=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())[:500]}") from error
    return module.eval()
