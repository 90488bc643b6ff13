"""The text of a synthetic `cosyvoice2.yaml`: the keys, tags and references of the published one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TEMPLATE = Path(__file__).with_name("cosyvoice2.yaml.in").read_text(encoding="utf-8")


def yaml_text(sizes: Mapping[str, Any], seed: int) -> str:
    """HyperPyYAML for a network of these sizes (see `reference.synthetic.sizes`)."""
    return _TEMPLATE.format(seed=seed, **sizes)
