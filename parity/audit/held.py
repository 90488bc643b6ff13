"""What the MLX model holds of a component: live tensors or, while nobody has used it, those of its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from mlx_cosyvoice.strict import read_header
from mlx_cosyvoice.strict.safetensors_header import Entry
from mlx_cosyvoice.weights import read_config, weight_files
from parity.pair import Pair

#: Dtype in a safetensors file -> MLX's, and one of NumPy's that has as many bits.
DTYPES: dict[str, tuple[mx.Dtype, np.dtype]] = {
    "F32": (mx.float32, np.dtype(np.uint32)),
    "F16": (mx.float16, np.dtype(np.uint16)),
    "BF16": (mx.bfloat16, np.dtype(np.uint16)),
    "U32": (mx.uint32, np.dtype(np.uint32)),
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a safetensors file, of which rows are read when they are asked for, and not kept."""

    path: Path
    entry: Entry

    @property
    def dtype(self) -> mx.Dtype:
        return DTYPES[self.entry.dtype][0]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.entry.shape

    def __getitem__(self, rows: slice) -> mx.array:
        start, stop, _ = rows.indices(self.shape[0])
        dtype, bits = DTYPES[self.entry.dtype]
        row = prod(self.shape[1:])
        offset = self.entry.start + start * row * bits.itemsize
        numbers = np.fromfile(self.path, bits, (stop - start) * row, offset=offset)
        return mx.array(numbers).view(dtype).reshape(stop - start, *self.shape[1:])


@dataclass(frozen=True)
class Held:
    """A component of the MLX model.

    Attributes:
        component: its name.
        network: its module.
        tensors: by path in it.
        dtype: that config.json says.
        float32: paths of tensors and modules that are exceptions to it.
    """

    component: str
    network: nn.Module
    tensors: dict[str, mx.array | StoredTensor]
    dtype: str
    float32: tuple[str, ...]

    def dtype_of(self, name: str) -> str:
        """The dtype that a tensor is declared to have, by its path in the component."""
        exact = any(name == path or name.startswith(f"{path}.") for path in self.float32)
        return "float32" if exact else self.dtype


def held(pair: Pair, component: str) -> Held:
    """What the model holds of a component."""
    _, meta = read_config(pair.folder)
    prefix = f"{component}."
    kept = [path.removeprefix(prefix) for path in meta["layer_dtypes"] if path.startswith(prefix)]
    exact = (*kept, *pair.model.family[component].float32_tensors)
    unread = component in pair.model._unread
    network = pair.model._networks[component] if unread else getattr(pair.model, component)
    tensors: Mapping[str, mx.array | StoredTensor] = (
        _stored(pair.folder, prefix) if unread else dict(tree_flatten(network.parameters()))
    )
    return Held(component, network, dict(tensors), meta["dtypes"][component], exact)


def _stored(folder: Path, prefix: str) -> dict[str, StoredTensor]:
    return {
        name.removeprefix(prefix): StoredTensor(path, entry)
        for path in weight_files(folder)
        for name, entry in read_header(path).tensors.items()
        if name.startswith(prefix)
    }
