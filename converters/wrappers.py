"""Finds a component's state dict in what trainers save: in other dicts, under prefixes, beside what only they need.

It works on names alone, so that tensors stay on disk. Where a file could be read in two ways it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from converters.families import Origin
from mlx_cosyvoice.quoting import plain, quoted

#: What data parallel training and torch.compile put into keys, also amid them. No official name has these.
WRAPPING_MODULES = ("module", "_orig_mod")

#: A counter that `torch.optim.swa_utils.AveragedModel` stores as a tensor.
AVERAGE_COUNTER = "n_averaged"

#: How `torch.nn.utils.weight_norm` called what its successor calls so.
WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}

#: Deeper nesting is no state dict.
MAX_DEPTH = 4

#: What conversion.json lists at most of what was left out.
_LISTED = 40


class WrapperError(ValueError):
    """The content is no state dict of the component, or could be read in two ways; the message says what it is."""


@dataclass
class StateDict:
    """A component's tensors under their official names, and how they were found.

    Attributes:
        tensors: official name -> tensor, as the file holds it.
        within: the keys of the dicts around it, parted by dots.
        prefix: what stood before the names, that of the official trainer not counted.
        removed: modules of `WRAPPING_MODULES` that were taken out of names.
        renamed: whether names of the older weight norm were replaced.
        left_out: what else there was.
    """

    tensors: dict[str, Any] = field(default_factory=dict)
    within: str = ""
    prefix: str = ""
    removed: list[str] = field(default_factory=list)
    renamed: bool = False
    left_out: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """What conversion.json says; {} for a file as it is published."""
        record: dict[str, Any] = {}
        if self.within:
            record["within"] = self.within
        if self.prefix:
            record["prefix"] = self.prefix
        if self.removed:
            record["removed_from_names"] = self.removed
        if self.renamed:
            record["renamed"] = dict(WEIGHT_NORM)
        if self.left_out:
            more = len(self.left_out) - _LISTED
            record["left_out"] = self.left_out[:_LISTED] + ([f"and {more} more"] if more > 0 else [])
        return record


@dataclass
class _Candidate:
    """A mapping that holds tensors. `names`: its tensors' names without wrapping modules -> their keys."""

    path: tuple[str, ...]
    content: Mapping[Any, Any]
    names: dict[str, str]
    removed: list[str]


def find_state_dict(
    content: Mapping[Any, Any], component: str, origins: Mapping[str, Origin], tensor: type
) -> StateDict:
    """The state dict of `component` in the content of a file.

    Args:
        content: what the file holds.
        component: which one of `origins`.
        origins: of the family.
        tensor: the type of its tensors.

    Raises:
        WrapperError: there is none, there are several, or an entry amid the tensors is none.
    """
    origin = origins[component]
    candidates = [_candidate(path, mapping, tensor) for path, mapping in _mappings(content, tensor)]
    if any(".lora_" in f".{name}" for one in candidates for name in one.names):
        raise WrapperError(
            "holds LoRA adapters: merge them into the model (peft: merge_and_unload()), and save its state dict"
        )
    hits = [(one, prefix) for one in candidates for prefix in sorted(_prefixes(one.names, origin))]
    if len(hits) > 1:
        places = [".".join((*one.path, prefix)) for one, prefix in hits]
        raise WrapperError(
            f"holds the network {len(hits)} times ({', '.join(quoted(place) for place in places[:4])}): "
            "save the one that is meant alone, as a state dict"
        )
    if not hits:
        problem = _what_it_is([name for one in candidates for name in one.names], component, origins)
        if problem or not candidates:
            raise WrapperError(problem)
        # the check of all keys says what is missing
        hits = [(one, _official_prefix(one.names, origin)) for one in candidates[:1]]
    return _state_dict(content, *hits[0], origin, tensor)


def _mappings(content: Mapping[Any, Any], tensor: type) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Every mapping that holds tensors, the outer ones first, with the keys that lead to it. Each comes once."""
    seen = {id(content)}
    level: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = [((), content)]
    for _ in range(MAX_DEPTH):
        inner = []
        for path, mapping in level:
            if any(isinstance(value, tensor) for value in mapping.values()):
                yield path, mapping
            for key, value in mapping.items():
                if isinstance(value, Mapping) and isinstance(key, str) and id(value) not in seen:
                    seen.add(id(value))
                    inner.append(((*path, key), value))
        level = inner


def _candidate(path: tuple[str, ...], content: Mapping[Any, Any], tensor: type) -> _Candidate:
    names: dict[str, str] = {}
    removed: list[str] = []
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, tensor):
            continue
        parts = key.split(".")
        name = ".".join(part for part in parts if part not in WRAPPING_MODULES)
        if name in names:
            raise WrapperError(f"has both {quoted(names[name])} and {quoted(key)}")
        names[name] = key
        removed += [part for part in WRAPPING_MODULES if part in parts and part not in removed]
    return _Candidate(path, content, names, removed)


def _state_dict(content: Mapping[Any, Any], found: _Candidate, prefix: str, origin: Origin, tensor: type) -> StateDict:
    result = StateDict(within=".".join(found.path), removed=found.removed)
    result.prefix = prefix.removesuffix(origin.prefix)
    if found.path:
        result.left_out = [
            plain(key) if isinstance(key, str) else type(key).__name__ for key in content if key != found.path[0]
        ]
    for key, value in found.content.items():
        if not isinstance(value, tensor):
            # What a trainer keeps for itself has plain names; those with dots are of modules.
            if not isinstance(key, str) or "." in key:
                raise WrapperError(f"entry {quoted(key)} is of type {type(value).__name__}, not a plain tensor")
            result.left_out.append(plain(key))
        elif not isinstance(key, str):
            raise WrapperError(f"entry {quoted(key)} is named by a value of type {type(key).__name__}, not by text")
    keys: dict[str, str] = {}
    for name, key in found.names.items():
        own = _own_name(name, prefix, result, origin)
        if own is None:
            result.left_out.append(plain(key))
        elif own in keys:
            raise WrapperError(f"has both {quoted(key)} and {quoted(keys[own])}")
        else:
            keys[own] = key
    result.tensors = {own: found.content[key] for own, key in keys.items()}
    result.left_out.sort()
    return result


def _own_name(name: str, prefix: str, result: StateDict, origin: Origin) -> str | None:
    """A tensor's official name; None if it is no part of the network. Strangers keep theirs: the check names them."""
    own = name.removeprefix(prefix)
    beside = bool(result.prefix) and not name.startswith(prefix)
    if beside or own == AVERAGE_COUNTER or own.split(".")[0] in origin.training:
        return None
    stem, _, last = own.rpartition(".")
    if origin.weight_norm and last in WEIGHT_NORM:
        result.renamed = True
        return f"{stem}.{WEIGHT_NORM[last]}"
    return own


def _prefixes(names: Mapping[str, str], origin: Origin) -> set[str]:
    """What stands before the component's names; several where the network is there several times."""
    return {
        name[: -len(anchor)]
        for name in names
        for anchor in origin.anchors
        if name.endswith(anchor) and (name == anchor or name[-len(anchor) - 1] == ".")
    }


def _official_prefix(names: Mapping[str, str], origin: Origin) -> str:
    return origin.prefix if any(name.startswith(origin.prefix) for name in names) else ""


def _what_it_is(names: list[str], component: str, origins: Mapping[str, Origin]) -> str:
    """What a file without the component's anchors holds, and what to do; "" if that is not known."""
    if not names:
        return f"holds no weights, so it is not the {component}: give the file that the training saved the model in"
    for other, origin in origins.items():
        if other != component and _prefixes(dict.fromkeys(names, ""), origin):
            return f"holds the weights of the {other}, not of the {component}. Is it the right file?"
    training = {module for origin in origins.values() for module in origin.training}
    if all(name.split(".")[0] in training for name in names):
        return "holds the discriminators of a vocoder's training, not the vocoder: give the file of the generator"
    mistaken = origins[component].mistaken.items()
    return next((problem for end, problem in mistaken if any(name.endswith(end) for name in names)), "")
