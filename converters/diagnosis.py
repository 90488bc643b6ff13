"""What a folder is that was named as a checkpoint and is none, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from converters.families import OFFICIALS, yaml_names
from converters.qwen import BLANK_EN
from converters.yaml_references import Node
from mlx_cosyvoice.foreign import describe_model

ONLY = f"only {' and '.join(f'{one.family.title} ({one.hub})' for one in OFFICIALS.values())} can be converted"
YAMLS = yaml_names()

#: How deep checkpoints lie in folders that people give: those of the hub's cache, in snapshots/REVISION.
_DEPTH = 3
_LOOKED_AT = 2000

#: Ends of class names that only this model has.
_CLASSES = {"CosyVoice 1": ("TransformerLM", ".MaskedDiffWithXvec")}


def other_model(content: dict[str, Any]) -> str:
    """Which model the content of a YAML is of, if of none that can be converted; "" if it is, or nothing tells."""
    targets = [value.target for value in content.values() if isinstance(value, Node)]
    for model, ends in _CLASSES.items():
        if any(target.endswith(ends) for target in targets):
            return model
    return "CosyVoice 1" if "text_encoder_input_size" in content else ""


def what_it_is(folder: Path, missing: list[str]) -> str:
    """A sentence or two about a folder that lacks files; "" if it is just incomplete."""
    if not any((folder / name).exists() for name in YAMLS):
        described = describe_model(folder) or _elsewhere(folder)
        if described:
            return described
        if (folder / "config.json").exists():
            return f"It has config.json, so it seems to be a model of another kind; {ONLY}."
    if any(one.family["llm"].file in missing for one in OFFICIALS.values()):
        others = sorted(path.name for path in folder.glob("llm*.*") if path.suffix in (".pt", ".safetensors"))
        if others:
            return f"It has {', '.join(others[:4])}: choose with --llm {others[0]}."
    return ""


def _elsewhere(folder: Path) -> str:
    """Where the checkpoint is, if the folder is one too high or too low."""
    if folder.resolve().name == BLANK_EN and (folder.resolve().parent / YAMLS[0]).exists():
        return f"It is a part of the checkpoint {folder.resolve().parent}: give that."
    found = sorted({path.parent for path in islice(_yaml_files(folder), _LOOKED_AT) if path.is_file()})
    if not found:
        return ""
    if len(found) == 1:
        return f"The checkpoint is in {found[0]}: give that."
    return f"There are checkpoints in {', '.join(map(str, found[:4]))}: give one of them."


def _yaml_files(folder: Path) -> Iterator[Path]:
    for depth in range(1, _DEPTH + 1):
        for name in YAMLS:
            yield from folder.glob("*/" * depth + name)
