"""Opens state dicts: tensors only, mapped from disk, never executing what a pickle may carry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from converters.errors import CheckpointError
from converters.families import Origin
from converters.pt_archive import load
from converters.wrappers import StateDict, WrapperError, find_state_dict
from mlx_cosyvoice.quoting import quoted
from mlx_cosyvoice.strict import BadFileError, read_header


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_quantized


def open_weights(path: str | Path, component: str, origins: Mapping[str, Origin], *, verify: bool = True) -> StateDict:
    """The state dict of a component; its tensors are read from disk when they are used.

    Args:
        path: a `.pt` file or a safetensors file, as published or as a trainer saved it (see `converters.wrappers`).
        component: which one.
        origins: of the family.
        verify: compare the checksums that the file holds, which reads it once.

    Raises:
        CheckpointError: no such file, cut off or damaged, carrying code, with an entry that is not a tensor, or not
            of this component; file and key are named.
    """
    path = Path(path)
    content = _load_safetensors(path) if is_safetensors(path) else load(path, verify=verify)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a state dict. Is it the right file?")
    try:
        found = find_state_dict(content, component, origins, torch.Tensor)
    except WrapperError as error:
        raise CheckpointError(f"{path}: {error}") from error
    for key, tensor in found.tensors.items():
        if not _is_plain(tensor):
            raise CheckpointError(f"{path}: entry {quoted(key)} is of type {type(tensor).__name__}, not a plain tensor")
    if found.tensors and not any(tensor.numel() for tensor in found.tensors.values()):
        raise CheckpointError(
            f"{path}: holds empty tensors only, as DeepSpeed does in stage 3 of ZeRO: gather them with its "
            "zero_to_fp32.py, and give the result"
        )
    return found


def is_safetensors(path: Path) -> bool:
    """Whether the content begins as that of a safetensors file does: the length of its header, and the header."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        read_header(path)
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (BadFileError, SafetensorError) as error:
        raise CheckpointError(f"{path}: {error!s:.300}. Get it again.") from error


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
