"""The families whose official checkpoints can be converted, by `model_type`."""

from __future__ import annotations

from pathlib import Path

from converters.families.cosyvoice2 import COSYVOICE2_OFFICIAL
from converters.families.declaration import Added, Official, Origin

OFFICIALS: dict[str, Official] = {COSYVOICE2_OFFICIAL.family.model_type: COSYVOICE2_OFFICIAL}


def official_of(folder: Path) -> Official:
    """The family of a checkpoint, known by its YAML; the first one where there is none."""
    for official in OFFICIALS.values():
        if any((folder / name).exists() for name in official.family.yaml):
            return official
    return next(iter(OFFICIALS.values()))


__all__ = ["OFFICIALS", "Added", "Official", "Origin", "official_of"]
