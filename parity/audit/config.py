"""Every field of the configuration, and every default of a function, beside what the official files say."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import mlx_cosyvoice
from mlx_cosyvoice.weights import CONFIG
from mlx_parity.compare import Layer, Verdict
from parity.pair import Pair, Reference
from reference.official_config import said_by


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The path of each field in nested mappings, and its value; tuples become lists."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, json.loads(json.dumps(value))


def unlike(config: Any, original: Reference) -> Iterator[tuple[str, Any, Any]]:
    """The fields of which a model's configuration says something else than its checkpoint, and what both say."""
    official = dict(flat(original.config))
    yield from (
        (field, value, official[field])
        for field, value in flat(config.to_dict())
        if field in official and official[field] != value
    )


def audit_config(pair: Pair, component: str) -> list[Layer]:
    """A layer for every field of a component; those of the whole model belong to ""."""
    networks = pair.original.family.networks
    model = dict(flat({**pair.model.config.to_dict(), "mel": dataclasses.asdict(pair.model.family.mel)}))
    official = dict(flat(pair.original.config))
    owners = {field: field.split(".")[0] for field in model.keys() | official.keys()}
    fields = sorted(field for field, owner in owners.items() if component == (owner if owner in networks else ""))
    return [_layer(f"{CONFIG}: {field}", _wrong(pair, field, model, official)) for field in fields]


def _layer(path: str, reason: str) -> Layer:
    """Of a field or default that is wrong for a reason, or right."""
    return Layer(path, "config", Verdict.DIVERGED if reason else Verdict.PASS, reason=reason)


def _wrong(pair: Pair, field: str, model: Mapping[str, Any], official: Mapping[str, Any]) -> str:
    if field not in model or field not in official:
        return f"{'the model' if field in official else 'nobody'} has it"
    if model[field] == official[field]:
        return ""
    where = said_by(pair.original.family).get(field) or "the file of the network"
    return f"is {model[field]!r}, the checkpoint says {official[field]!r} ({where})"


def audit_defaults(pair: Pair, component: str) -> list[Layer]:
    """A layer for every such default; none for a component, as they are of the whole model."""
    official = {} if component else pair.original.family.defaults
    return [
        _default(f"{function.__module__}.{function.__qualname__}", parameter, official[parameter.name])
        for function in _functions()
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name in official and parameter.default is not parameter.empty
    ]


def _default(function: str, parameter: inspect.Parameter, official: Any) -> Layer:
    right = parameter.default == official
    reason = "" if right else f"is {parameter.default!r} by default, officially {official!r}"
    return _layer(f"{function}({parameter.name})", reason)


def _functions() -> Iterator[Any]:
    """Every function and method of the modules that the model has imported."""
    for name in sorted(name for name in sys.modules if name.startswith(f"{mlx_cosyvoice.__name__}.")):
        own = [value for value in vars(sys.modules[name]).values() if getattr(value, "__module__", "") == name]
        yield from filter(inspect.isfunction, own)
        for cls in filter(inspect.isclass, own):
            yield from filter(inspect.isfunction, vars(cls).values())
