"""Reads official weights for the reference, with other code than the converters have: nothing but tensors."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

#: What data parallel training and torch.compile put into names.
WRAPPERS = ("module", "_orig_mod")

#: How `torch.nn.utils.weight_norm` called what its successor calls so.
WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}

#: Of a mapped file, what was read stays in memory until it is opened anew, which takes a quarter of a second: after so
#: many bytes.
RESIDENT = 256 << 20


class OfficialTensors(Mapping[str, Tensor]):
    """A component's tensors by official key, each read when it is asked for."""

    def __init__(self, names: Callable[[], Mapping[str, Callable[[], Tensor]]]) -> None:
        """`names` opens the file: key -> reads the tensor."""
        self._open, self._readers, self._nbytes = names, names(), 0

    def __getitem__(self, key: str) -> Tensor:
        if self._nbytes > RESIDENT:
            self._readers, self._nbytes = self._open(), 0
        tensor = self._readers[key]()
        self._nbytes += tensor.nbytes
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def read_state_dict(path: Path, keys: Set[str], tied: Mapping[str, str] = MappingProxyType({})) -> dict[str, Tensor]:
    """The tensors of a network that has these keys, out of a `.pt` or safetensors file, as a trainer may save it.

    Args:
        path: the file.
        keys: official ones. Where all of them stand, under one prefix, is the network.
        tied: key -> the one whose tensor it shares, so that some files hold it once.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged or carries code; a key is missing, or a module of the network has another one.
    """
    best = sorted(keys)
    for names in _mappings(_content(path)):
        for root in _roots(names, keys):
            found = {name.removeprefix(root): tensor for name, tensor in names.items() if name.startswith(root)}
            for key, other in tied.items():
                if other in found:
                    found.setdefault(key, found[other])
            missing = sorted(keys - found.keys())
            if not missing:
                return _checked(path, found, keys)
            best = min(best, missing, key=len)
    raise ValueError(f"{path}: has no {', '.join(best[:4])}; is it the right file?")


def _content(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            if file.read(9)[8:] == b"{":  # the header of a safetensors file, after its length
                return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError) as error:
        raise _error(path, error) from error
    except SafetensorError as error:
        raise _error(path, error) from error


def _mappings(content: Any) -> Iterator[dict[str, Tensor]]:
    """Name without wrappers -> tensor, of every mapping within the content."""
    if not isinstance(content, Mapping):
        return
    yield {_name(key): value for key, value in content.items() if isinstance(value, Tensor)}
    for value in content.values():
        yield from _mappings(value)


def _name(key: Any) -> str:
    *modules, last = (part for part in str(key).split(".") if part not in WRAPPERS)
    return ".".join([*modules, WEIGHT_NORM.get(last, last)])


def _roots(names: Collection[str], keys: Set[str]) -> list[str]:
    """What may stand before the keys: it does before the longest, or one that could be as long."""
    anchors = sorted(keys, key=lambda key: (-key.count("."), key))[:2]
    ends = {name[: -len(anchor)] for anchor in anchors for name in names if name.endswith(anchor)}
    return sorted(root for root in ends if not root or root.endswith("."))


def _checked(path: Path, tensors: dict[str, Tensor], keys: Set[str]) -> dict[str, Tensor]:
    own = {key.split(".")[0] for key in keys}
    surplus = [name for name in tensors if name not in keys and name.split(".")[0] in own]
    if surplus:
        raise ValueError(f"{path}: the network has no {', '.join(surplus[:4])}")
    return {key: tensors[key] for key in keys}


def load_tensors(module: torch.nn.Module, tensors: Mapping[str, Tensor], where: Path) -> torch.nn.Module:
    """Fill `module` with tensors under their official names, strictly. Returns it in evaluation mode.

    Raises:
        ValueError: a key is missing or surplus, or a shape does not fit; `where`, the file, is named.
    """
    try:
        module.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        raise _error(where, error) from error
    return module.eval()


def _error(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: {' '.join(str(error).split())[:500]}")
