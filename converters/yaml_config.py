"""From the YAML of a checkpoint and what its other files tell to the sizes of the MLX network.

What the MLX network does not support is refused by name: a converted model that computes something else than the
official one would be worse than none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters.errors import ConfigError
from converters.families import Official
from converters.yaml_schema import SchemaReader
from mlx_cosyvoice.config import FieldError, from_dict
from mlx_cosyvoice.plausible import check_agreement


def model_config(
    official: Official, content: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]], *, where: str | Path
) -> Any:
    """The sizes of the whole network.

    Args:
        official: the family.
        content: from `read_yaml`.
        found: component that is converted -> fields of its config that other files tell. Sizes of other components
            that the YAML does not hold are defaults.
        where: the YAML file, for messages.

    Raises:
        ConfigError: a value or key that the MLX network does not support, or sizes that do not fit each other; file,
            key and value are named.
    """
    where = Path(where)
    values = SchemaReader(where).read(official.schema, content, "")
    for component, fields in found.items():
        values[component] = {**values.get(component, {}), **fields}
    try:
        config: Any = from_dict(official.family.config, values)
    except FieldError as error:
        raise ConfigError(f"{where}: {error}") from error
    for name, value, other_name, other in official.pairs(config, found):
        if value != other:
            raise ConfigError(f"{where}: {name} is {value}, but {other_name} is {other}; they must be equal")
    try:
        check_agreement(config, official.family.parts(found))  # or the model would be refused when it is loaded
    except FieldError as error:
        raise ConfigError(f"{where}: {error}") from error
    return config
