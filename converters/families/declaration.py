"""What is known of a family's official checkpoints, as values that the converter reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from converters.yaml_schema import Schema
from mlx_cosyvoice.families import Family

Shape = tuple[int, ...]
#: A field, its value, what it must equal, and that one's value.
Pair = tuple[str, int, str, int]


@dataclass(frozen=True)
class Added:
    """A tensor that official files lack because the official code makes it.

    Attributes:
        origin: where it is from, for conversion.json.
        make: gives it for a configuration.
    """

    origin: str
    make: Callable[[Any], Any]


@dataclass(frozen=True)
class Origin:
    """How a component is read.

    Attributes:
        read: gives the tensors of its file under their official names and the fields of its config that only the file
            tells; None for a state dict, of which the next five speak.
        anchors: keys that the state dict has and no other module has. Where they stand, the others stand.
        prefix: what the official trainer puts before every key.
        training: modules of its training that may stand beside it.
        weight_norm: whether it has convolutions whose names the older `torch.nn.utils.weight_norm` wrote otherwise.
        mistaken: end of a key that a file without the anchors may have -> what it is then.
        beside: other files of the checkpoint that it needs.
        sizes: gives what these say of its config.
        shapes: official key -> shape that the config claims, of tensors that cover every size.
        added: key -> tensor that no file holds.
        trial: runs its network, for a configuration, on drawn inputs.
    """

    read: Callable[[Path], tuple[dict[str, Any], dict[str, Any]]] | None = None
    anchors: tuple[str, ...] = ()
    prefix: str = ""
    training: tuple[str, ...] = ()
    weight_norm: bool = False
    mistaken: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    sizes: Callable[[Mapping[str, Path]], dict[str, Any]] = lambda paths: {}
    shapes: Callable[[Any], dict[str, Shape]] = lambda config: {}
    added: Mapping[str, Added] = field(default_factory=dict)
    trial: Callable[[Any, Any, np.random.Generator], None] = lambda network, config, random: None


@dataclass(frozen=True)
class Official:
    """The official checkpoints of a family.

    Attributes:
        family: that it becomes.
        hub: where the official one is published.
        schema: what its YAML may say.
        origins: component -> how it is read.
        completed: the content of a YAML in the terms of the latest.
        pairs: what a configuration must agree in, for the components that are read.
    """

    family: Family
    hub: str
    schema: Schema
    origins: Mapping[str, Origin]
    completed: Callable[[dict[str, Any]], dict[str, Any]] = lambda content: content
    pairs: Callable[[Any, Collection[str]], list[Pair]] = lambda config, names: []

    @property
    def classes(self) -> list[str]:
        """The official ones of its networks, as its YAML names them."""
        targets = (self.schema.children[name].target for name in self.family.names if name in self.schema.children)
        return [target for target in targets if target is not None]
