"""Every tensor of the model beside the official one, after the change of layout that its module's type declares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from mlx_cosyvoice.nn.official import Module, Rule, rules_of
from mlx_cosyvoice.quantize import is_quantized
from mlx_cosyvoice.weights import DTYPES, load_weights, read_config
from mlx_parity.audit.evidence import evidence, rounded
from mlx_parity.compare import EPSILON, MINIMUM_STEPS, Layer, Verdict, compare
from parity.audit.packed import audit_packed
from parity.pair import Pair

#: Numbers that are compared at a time: the largest tensor of a model has half a gigabyte.
BLOCK = 1 << 20

#: Folding several tensors into one costs a step of float32, or a few where it is not done in float64.
FOLDING_STEPS = 4.0


@dataclass(frozen=True)
class Held:
    """A component of the MLX model.

    Attributes:
        component: its name.
        network: its module.
        tensors: by path in it; one of the folder is read when it is looked at.
        dtype: that config.json says.
        float32: paths of tensors and modules that are exceptions to it.
    """

    component: str
    network: nn.Module
    tensors: dict[str, mx.array]
    dtype: str
    float32: tuple[str, ...]

    def dtype_of(self, name: str) -> str:
        """The dtype that a tensor is declared to have, by its path in the component."""
        exact = any(name == path or name.startswith(f"{path}.") for path in self.float32)
        return "float32" if exact else self.dtype


def held(pair: Pair, component: str) -> Held:
    """What the model holds of a component."""
    _, meta = read_config(pair.folder)
    prefix = f"{component}."
    kept = [path.removeprefix(prefix) for path in meta["layer_dtypes"] if path.startswith(prefix)]
    exact = (*kept, *pair.model.family[component].float32_tensors)
    unread = component in pair.model._unread
    network = pair.model._networks[component] if unread else getattr(pair.model, component)
    if unread:
        stored = load_weights(pair.folder).items()
        tensors = {name.removeprefix(prefix): array for name, array in stored if name.startswith(prefix)}
    else:
        tensors = dict(tree_flatten(network.parameters()))
    return Held(component, network, tensors, meta["dtypes"][component], exact)


def audit_weights(pair: Pair, component: str) -> list[Layer]:
    """A layer for every tensor of a component, and for what either side has alone; none for what is no network."""
    if component not in pair.model.dtypes:
        return []
    keys, fetch = pair.original.official_tensors(component)
    auditor = _Auditor(held(pair, component), keys, fetch)
    return [*auditor.tensors(), *auditor.unmatched()]


class _Auditor:
    def __init__(self, model: Held, keys: set[str], fetch: Callable[[str], np.ndarray]) -> None:
        self.model, self.keys, self.fetch = model, keys, fetch
        self.modules = [(f"{path}." if path else "", module) for path, module in sorted(model.network.named_modules())]
        self.used: set[str] = set()

    def tensors(self) -> Iterator[Layer]:
        """Every tensor that the network has."""
        for prefix, module in self.modules:
            rules = rules_of(module)
            if is_quantized(module):
                rules = {name: rule for name, rule in rules.items() if name not in ("weight", "scales", "biases")}
                yield from self._packed(prefix, module)
            for name, rule in rules.items():
                yield self._tensor(prefix, name, rule)
            self.used |= {prefix + name for name in (module.unused() if isinstance(module, Module) else ())}

    def unmatched(self) -> Iterator[Layer]:
        """What only one side has. Asked for after `tensors`."""
        for key in sorted(self.keys - self.used):
            yield self._wrong(key, "the model has nothing for this official tensor")
        for name in sorted(self.model.tensors):
            yield self._wrong(name, "is no tensor of the network")

    def _wrong(self, name: str, reason: str, shape: tuple[int, ...] = (), **known: Any) -> Layer:
        return Layer(f"{self.model.component}.{name}", "weights", Verdict.DIVERGED, shape, reason=reason, **known)

    def _packed(self, prefix: str, module: nn.Module) -> Iterator[Layer]:
        parts = {name: self.model.tensors.pop(prefix + name) for name in ("weight", "scales", "biases")}
        self.used.add(f"{prefix}weight")
        official = self.fetch(f"{prefix}weight")
        path = f"{self.model.component}.{prefix}"
        yield from audit_packed(path, parts, official, module.bits, module.group_size, self.model.dtype)

    def _tensor(self, prefix: str, parameter: str, rule: Rule) -> Layer:
        name, sources = prefix + parameter, [prefix + source for source in rule.sources]
        missing = [key for key in sources if key not in self.keys]
        self.used |= set(sources)
        array = self.model.tensors.pop(name, None)
        if array is None or missing:
            return self._wrong(name, f"the checkpoint has no {missing[0]}" if missing else "the model lacks it")
        official, dtype = rule.make(*map(self.fetch, sources)), self.model.dtype_of(name)
        if array.dtype != DTYPES[dtype]:
            return self._wrong(name, f"is {str(array.dtype).removeprefix('mlx.core.')}, config.json says {dtype}")
        known = partial(self._exact, rule, sources)
        if array.shape == official.shape and _equal(array, official, dtype, known):
            return Layer(f"{self.model.component}.{name}", "weights", Verdict.PASS, array.shape)
        return self._differing(name, array, official, dtype)

    def _exact(self, rule: Rule, sources: list[str]) -> np.ndarray:
        """The tensor in float64, which differs from the official ones where these are computed with."""
        return rule.make(*(self.fetch(key).astype(np.float64) for key in sources))

    def _differing(self, name: str, array: mx.array, official: np.ndarray, dtype: str) -> Layer:
        found = np.array(array.astype(mx.float32))
        reason = evidence(found, official, dtype, self._others(name, official.shape))
        if found.shape != official.shape:
            return self._wrong(name, reason, found.shape)
        difference = compare(found, rounded(official, dtype))
        known = {"difference": difference, "error": difference.relative_rms, "floor": MINIMUM_STEPS * EPSILON[dtype]}
        return self._wrong(name, reason, found.shape, **known)

    def _others(self, name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
        """The official tensors of a shape, but for that of `name`."""
        for prefix, module in self.modules:
            for parameter, rule in rules_of(module).items():
                keys = [prefix + source for source in rule.sources]
                alike = prefix + parameter != name and module[parameter].shape == shape
                if alike and self.keys.issuperset(keys):
                    yield f"{self.model.component}.{prefix}{parameter}", rule.make(*map(self.fetch, keys))


def _equal(tensor: mx.array, official: np.ndarray, dtype: str, exactly: Callable[[], np.ndarray]) -> bool:
    """Whether a tensor is the official one after rounding: bit by bit, but where it was computed from others."""
    rows = max(1, BLOCK * len(official) // max(official.size, 1))
    for start in range(0, len(official), rows):
        block = slice(start, start + rows)
        found = np.array(tensor[block].astype(mx.float32))
        if not np.array_equal(found, rounded(official[block], dtype)):
            exact = exactly()
            return not np.array_equal(exact, official) and _near(np.array(tensor.astype(mx.float32)), exact, dtype)
    return True


def _near(found: np.ndarray, exact: np.ndarray, dtype: str) -> bool:
    step = np.maximum(EPSILON[dtype] * np.abs(exact), np.finfo(np.float16).smallest_subnormal)
    return bool(np.all(np.abs(found - exact) <= FOLDING_STEPS * step))
