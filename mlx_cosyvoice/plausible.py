"""Whether the sizes in config.json can be those of the stored weights, known before any network is built."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mlx_cosyvoice.config_fields import FieldError
from mlx_cosyvoice.families import Component
from mlx_cosyvoice.families.declaration import value_at


def check_counts(config: Any, components: Collection[Component], keys: Collection[str]) -> None:
    """Refuse a configuration with more layers than the weights have: each costs time and memory to build.

    Args:
        config: what config.json says.
        components: those that will be built.
        keys: the names of all weights.

    Raises:
        FieldError: the field and both counts are named.
    """
    for component in components:
        for layers in component.layers:
            count, held = layers.claimed(config), layers.held(keys, f"{component.name}.")
            if count > held:
                raise FieldError(f"{layers.field}: makes {count} layers, but the weights have {held}")


def check_agreement(config: Any, components: Collection[Component]) -> None:
    """Refuse sizes that contradict one another, so that networks could be built but not used.

    Raises:
        FieldError: the fields and their values are named.
    """
    there = {component.name for component in components}
    for component in components:
        for rule, problem in _RULES.items():
            for one, other in getattr(component, rule):
                root, _, inner = other.partition(".")
                if inner and root not in there:
                    continue
                said = problem(value_at(config, one), value_at(config, other))
                if said:
                    raise FieldError(f"{one}, {other}: {said}")
        component.check(config)


#: Field of `Component` -> what is wrong with two values that it names; "" if nothing is.
_RULES = {
    "equal": lambda first, second: "" if first == second else f"must agree, not be {first} and {second}",
    "multiples": lambda first, second: f"{first} must be a multiple of {second}" if first % second else "",
    "at_most": lambda first, second: f"{first} must not be larger than {second}" if first > second else "",
}
