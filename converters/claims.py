"""Compares the sizes that a configuration claims with those that the weights have, before any layer is built.

A claim that is not true would otherwise cost the memory and the time of the network that it describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from converters.errors import ConfigError
from converters.families import Official
from mlx_cosyvoice.quoting import quoted

#: Layers that may be built of a component that has none of them; the check of its keys then names what is missing.
MAX_UNCHECKED = 32


def check_claims(
    official: Official, component: str, config: Any, tensors: Mapping[str, Any], yaml: Path, weights: Path
) -> None:
    """Refuse a configuration that does not fit the weights; what the weights lack is left to the check of their keys.

    Args:
        official: the family.
        component: which one.
        config: of the whole network.
        tensors: official key -> anything with a `shape`.
        yaml: the configuration's file, for messages.
        weights: the weights' file, for messages.

    Raises:
        ConfigError: a count of layers that is not that of the weights, or a shape larger than theirs; field, key and
            files are named.
    """
    origin = official.origins[component]
    where = " with ".join([str(yaml), *origin.beside[:1]])
    for layers in official.family[component].layers:
        claimed, found = layers.claimed(config), layers.held(tensors)
        if claimed != found and (found or claimed > MAX_UNCHECKED):
            raise ConfigError(
                f"{where}: {layers.field} makes {claimed} layers {layers.prefix}N, but {weights.name} has {found}. "
                "Do the files belong together?"
            )
    for key, shape in origin.shapes(config).items():
        # What claims less costs nothing; it is found when the tensors are made.
        if key in tensors and any(a > b for a, b in zip_longest(shape, tensors[key].shape, fillvalue=0)):
            raise ConfigError(
                f"{weights}: wrong shape: {key} {quoted(list(tensors[key].shape))} instead of {list(shape)}, "
                f"which is what {where} says. Do the files belong together?"
            )
