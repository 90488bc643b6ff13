"""The text of a family's YAML in a synthetic checkpoint: the keys, tags and references of the published one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def yaml_text(sizes: Mapping[str, Any], seed: int, name: str = "cosyvoice2.yaml") -> str:
    """HyperPyYAML for a network of these sizes (see `reference.synthetic.sizes`). `name` is what the file is called."""
    template = Path(__file__).with_name(f"{name}.in").read_text(encoding="utf-8")
    return template.format(seed=seed, **sizes)
