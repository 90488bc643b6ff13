"""JSON files beside the weights: configurations, recipes, reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlx_cosyvoice import strict

#: Of configurations and recipes; the published ones have less than 5 kB.
MAX_BYTES = 1 << 20


def read_json_object(path: Path, error: type[ValueError] = ValueError, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        ValueError: of the kind `error`; no such file, too large, not JSON (see `strict.parse_json`), or not an object.
            The file is named.
        OSError: the file cannot be read.
    """
    try:
        return strict.read_json_object(path, max_bytes)
    except FileNotFoundError as missing:
        raise error(f"{path}: no such file") from missing
    except strict.BadFileError as bad:
        raise error(f"{path}: {bad}") from bad
