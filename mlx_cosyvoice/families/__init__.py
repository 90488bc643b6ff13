"""The families of models that this package knows, by the `model_type` of their config.json."""

from __future__ import annotations

from collections.abc import Callable

from mlx_cosyvoice.families.cosyvoice2 import COSYVOICE2
from mlx_cosyvoice.families.cosyvoice3 import COSYVOICE3
from mlx_cosyvoice.families.declaration import Component, Family

FAMILIES: dict[str, Family] = {family.model_type: family for family in (COSYVOICE2, COSYVOICE3)}


def component_names(which: Callable[[Component], object] = lambda component: True) -> list[str]:
    """The names of the components of all families, each once; of those that `which` holds for."""
    return list(dict.fromkeys(one.name for family in FAMILIES.values() for one in family.components if which(one)))


__all__ = ["COSYVOICE2", "COSYVOICE3", "FAMILIES", "Component", "Family", "component_names"]
