"""What a folder of another kind than expected is: a model of ours, one of another project, an official checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlx_cosyvoice.families import FAMILIES
from mlx_cosyvoice.strict import BadFileError, open_regular, parse_json, read_bytes

#: A config.json that is larger is none of a speech model.
_MAX_BYTES = 1 << 20

_LFS_POINTER = b"version https://git-lfs"

CONVERT_AGAIN = "convert the official checkpoint again: python -m converters CHECKPOINT --out DIR"


def describe_checkpoint(folder: Path) -> str:
    """What to say of a folder that has no model of ours, if it looks like an official checkpoint; else ""."""
    families = FAMILIES.values()
    weights = [component.file for family in families for component in family.components]
    names = [*(name for family in families for name in family.yaml), *weights]
    found = next((name for name in names if (folder / name).is_file()), None)
    if found is None:
        return ""
    return f"has {found}, so it is an official checkpoint: convert it first: python -m converters {folder} --out DIR"


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file only names another one, which Git LFS was to download in its place.

    Raises:
        BadFileError: it is not a file.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        return file.read(len(_LFS_POINTER)) == _LFS_POINTER


def is_foreign_config(content: dict[str, Any]) -> bool:
    """Whether a config.json that names our kind of model was written by another project."""
    return "format_version" not in content and "components" not in content


def describe_model(folder: Path) -> str:
    """What to say of a folder that was expected to be an official checkpoint, if it is a converted model; else ""."""
    try:
        content = parse_json(read_bytes(folder / "config.json", _MAX_BYTES))
    except (OSError, BadFileError):
        return ""
    kind = str(content.get("model_type", ""))[:100].lower() if isinstance(content, dict) else ""
    if not any(name in kind for name in FAMILIES):
        return ""
    if is_foreign_config(content):
        return f"It was converted by another project; {CONVERT_AGAIN}."
    return (
        "It is a converted model already: speak with it (mlx-cosyvoice speak --model DIR), or give the official "
        "checkpoint that it was made from."
    )
