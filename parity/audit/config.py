"""Every field of the configuration beside what the checkpoint's own files say."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from mlx_cosyvoice.weights import CONFIG
from mlx_parity.compare import Layer, Verdict
from parity.pair import Pair
from reference.official_config import said_by


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The path of each field in nested mappings, and its value; tuples become lists."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, json.loads(json.dumps(value))


def audit_config(pair: Pair, component: str) -> list[Layer]:
    """A layer for every field of a component; those of the whole model belong to ""."""
    networks = pair.original.family.networks
    model = {
        **dict(flat(pair.model.config.to_dict())),
        **dict(flat({"mel": dataclasses.asdict(pair.model.family.mel)})),
    }
    official = dict(flat(pair.original.config))
    owners = {field: field.split(".")[0] for field in model.keys() | official.keys()}
    fields = sorted(field for field, owner in owners.items() if component == (owner if owner in networks else ""))
    return [_field(pair, field, model, official) for field in fields]


def _field(pair: Pair, field: str, model: Mapping[str, Any], official: Mapping[str, Any]) -> Layer:
    path, family = f"{CONFIG}: {field}", pair.original.family
    if field not in model or field not in official:
        return Layer(
            path, "config", Verdict.DIVERGED, reason=f"{'the model' if field in official else 'nobody'} has it"
        )
    if model[field] == official[field]:
        return Layer(path, "config", Verdict.PASS)
    said = said_by(family).get(field)
    where = str(said) if said else "the file of the network"
    reason = f"is {model[field]!r}, the checkpoint says {official[field]!r} ({where})"
    return Layer(path, "config", Verdict.DIVERGED, reason=reason)
