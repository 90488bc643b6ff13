"""Reads a mixed recipe: which dtype, which packing, and which layers stay float32.

`python -m parity drift --recipe FILE` writes one: a JSON object with `keep` (paths of layers) and either `dtype` or
`quantize` and `group_size`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from converters.json_file import read_json_object
from converters.write import FORMATS
from mlx_cosyvoice.quantize import Quantization
from mlx_cosyvoice.quoting import quoted

KEYS = ("dtype", "quantize", "group_size", "keep")


@dataclass(frozen=True)
class Recipe:
    """What a recipe says; None for what it does not."""

    keep: tuple[str, ...]
    dtype: str | None = None
    quantize: int | None = None
    group_size: int | None = None


def read_recipe(path: str | Path) -> Recipe:
    """A recipe from a file.

    Raises:
        ValueError: not JSON, or a key or value that is not known; the file and the key are named.
        OSError: the file cannot be read.
    """
    path = Path(path)
    content = read_json_object(path)
    for key in content:
        if key not in KEYS:
            raise ValueError(f"{path}: {quoted(key)} is not known; there are: {', '.join(KEYS)}")
    keep, dtype = content.get("keep", []), content.get("dtype")
    if not isinstance(keep, list) or not all(isinstance(layer, str) for layer in keep):
        raise ValueError(f"{path}: keep must be a list of paths of layers, not {quoted(keep)}")
    if dtype is not None and dtype not in tuple(FORMATS):
        raise ValueError(f"{path}: dtype must be one of {', '.join(FORMATS)}, not {quoted(dtype)}")
    quantize, group_size = content.get("quantize"), content.get("group_size")
    try:
        Quantization(4 if quantize is None else quantize, 64 if group_size is None else group_size)
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).replace('bits', 'quantize')}") from error
    return Recipe(tuple(keep), dtype, quantize, group_size)
