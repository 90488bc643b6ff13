"""Checkpoint folders that differ from a good one in a file, and what must be as it was after a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from converters.layout import SPEAKERS
from mlx_cosyvoice.families import COSYVOICE2


def damaged_copy(checkpoint: Path, copy: Path, name: str, change: Callable[[Path], object]) -> Path:
    """A copy of `checkpoint` in which `change(path)` was applied to its file `name`; the others are hard links."""

    def link(source: str, target: str) -> str:
        if source.endswith(name):
            return shutil.copy2(source, target)
        os.link(source, target)
        return target

    shutil.copytree(checkpoint, copy, copy_function=link)
    change(copy / name)
    return copy


def truncate(fraction: float) -> Callable[[Path], object]:
    return lambda path: os.truncate(path, int(path.stat().st_size * fraction))


def change_state(change: Callable[[dict], object]) -> Callable[[Path], object]:
    """A change of the state dict in a `.pt` file."""

    def apply(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return apply


def replace_text(old: str, new: str) -> Callable[[Path], object]:
    def apply(path: Path) -> None:
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        path.write_text(text.replace(old, new))

    return apply


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below `folder`, hidden ones too, with the files' content."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


#: Component -> its file.
WEIGHT_FILES = {component.name: component.file for component in COSYVOICE2.components}

#: File -> the components that read it, so that a test converts no more than it needs.
READERS = {**{file: (name,) for name, file in WEIGHT_FILES.items()}, SPEAKERS: ("hift",)}


class Folders:
    """`checkpoint` is good until a test damages it; `out` holds an older model, which must survive every failure."""

    def __init__(self, good: Path, root: Path) -> None:
        self.good, self.root = good, root
        self.checkpoint, self.out = good, root / "results" / "out"
        self.components: tuple[str, ...] = COSYVOICE2.names
        self.out.mkdir(parents=True)
        (self.out / "conversion.json").write_text("{}")
        (self.out / "model.safetensors").write_bytes(b"the old weights")

    def damage(self, name: str, change: Callable[[Path], object]) -> None:
        self.checkpoint = damaged_copy(self.good, self.root / "checkpoint", name, change)
        self.components = READERS.get(name, ("llm",) if "/" in name else COSYVOICE2.names)
