"""What a model folder holds, read from its config.json and the headers of its weight files, without loading it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open


def describe(folder: Path) -> dict[str, Any]:
    """Format version, and per component the dtype, the number of parameters and the bytes.

    Raises:
        FileNotFoundError: the folder, its config.json or its weights are missing.
        ValueError: a file is damaged or is not what `python -m converters` writes; it is named.
    """
    config = _config(folder)
    sizes = _sizes(folder)
    components = {}
    for name in config["components"]:
        own = [size for key, size in sizes.items() if key.startswith(f"{name}.")]
        components[name] = {
            "dtype": config["dtypes"].get(name, "?"),
            "parameters": sum(parameters for parameters, _ in own),
            "bytes": sum(count for _, count in own),
        }
    return {
        "path": str(folder),
        "format_version": config["format_version"],
        "components": components,
        "bytes": sum(count for _, count in sizes.values()),
    }


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a model folder is written by `python -m converters`")
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    missing = [key for key in ("format_version", "components", "dtypes") if key not in config]
    if missing:
        raise ValueError(f"{path}: lacks {', '.join(missing)}; a model folder is written by `python -m converters`")
    return config


def _sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Of every tensor the number of elements and of bytes."""
    bits = {"F64": 64, "I64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I8": 8, "U8": 8}
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder}: holds no .safetensors file")
    sizes: dict[str, tuple[int, int]] = {}
    for path in files:
        try:
            with safe_open(path, "np") as file:
                for key in file.keys():  # noqa: SIM118
                    tensor = file.get_slice(key)
                    count = math.prod(tensor.get_shape())
                    sizes[key] = (count, count * bits[tensor.get_dtype()] // 8)
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{path}: damaged or of an unknown dtype ({error})") from error
    return sizes
