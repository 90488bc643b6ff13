"""The families whose official checkpoints can be converted, by `model_type`."""

from __future__ import annotations

from pathlib import Path

from converters.families.cosyvoice2 import COSYVOICE2_OFFICIAL
from converters.families.cosyvoice3 import COSYVOICE3_OFFICIAL
from converters.families.declaration import Added, Official, Origin
from mlx_cosyvoice.strict import BadFileError, read_bytes

OFFICIALS: dict[str, Official] = {one.family.model_type: one for one in (COSYVOICE2_OFFICIAL, COSYVOICE3_OFFICIAL)}

#: A YAML that is larger is refused when it is read.
_MAX_YAML = 100_000


def yaml_names() -> list[str]:
    """What the YAML of a checkpoint may be called."""
    return [name for official in OFFICIALS.values() for name in official.family.yaml]


def official_of(folder: Path) -> Official:
    """The family of a checkpoint: that whose classes its YAML names or, if none does, whose YAML is so called.

    The first one where there is no YAML.
    """
    texts = {name: _text(folder / name) for name in yaml_names() if (folder / name).exists()}

    def likeness(official: Official) -> tuple[int, bool]:
        named = max((sum(name in text for name in official.classes) for text in texts.values()), default=0)
        return named, not texts.keys().isdisjoint(official.family.yaml)

    return max(OFFICIALS.values(), key=likeness)


def _text(path: Path) -> str:
    """What a YAML holds; "" if it cannot be read, which is said when it is needed."""
    try:
        return read_bytes(path, _MAX_YAML).decode("utf-8", "replace")
    except (OSError, BadFileError):
        return ""


__all__ = ["OFFICIALS", "Added", "Official", "Origin", "official_of", "yaml_names"]
