"""What the MLX model holds of a component: live tensors or, while nobody has used it, those of its folder."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_cosyvoice.weights import load_weights, read_config
from parity.pair import Pair


@dataclass(frozen=True)
class Held:
    """A component of the MLX model.

    Attributes:
        component: its name.
        network: its module.
        tensors: by path in it; one of the folder is read when it is looked at.
        dtype: that config.json says.
        float32: paths of tensors and modules that are exceptions to it.
    """

    component: str
    network: nn.Module
    tensors: dict[str, mx.array]
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
    if unread:
        stored = load_weights(pair.folder).items()
        tensors = {name.removeprefix(prefix): array for name, array in stored if name.startswith(prefix)}
    else:
        tensors = dict(tree_flatten(network.parameters()))
    return Held(component, network, tensors, meta["dtypes"][component], exact)
