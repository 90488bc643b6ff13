"""How an MLX module differs from the official PyTorch module of the same path.

Modules bear the official paths, so nothing has to be renamed. What still differs follows from the *type* of the
module that owns a tensor, and is declared here once, beside that type: how its parameters are stored (`rules`),
which official tensors it has no use for (`unused`), and how its output is laid out (`official_axes`). Conversion,
the weight audit and the parity taps all read these declarations; nothing guesses from shapes or key patterns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.quoting import plain

#: Axes of the outputs of this package, by rank. Time is axis 1: [batch, time, frequency, channels].
OUR_AXES = {3: "btc", 4: "btfc"}


@dataclass(frozen=True)
class Rule:
    """How one of our parameters is made from official tensors.

    `sources` are official names relative to the owning module; `make` accepts those arrays (NumPy, official layout)
    in that order and returns ours.
    """

    sources: tuple[str, ...]
    make: Callable[..., np.ndarray]


def same(name: str) -> Rule:
    """The parameter is stored alike in both frameworks."""
    return Rule((name,), lambda tensor: tensor)


class Module(nn.Module):
    """Base of the modules of this package.

    `official_axes` names the axes of the official module's output where they differ from ours ("bct" for PyTorch's
    convolutions). It applies to outputs of that rank; outputs of another rank are laid out alike.
    """

    official_axes: str = "btc"
    #: The axes of the official module's input, where they differ from those of its output.
    official_input_axes: str | None = None

    def rules(self) -> dict[str, Rule]:
        """Our parameter name -> how it is made. The default: every parameter is stored alike."""
        return {name: same(name) for name, value in self.items() if isinstance(value, mx.array)}

    def unused(self) -> dict[str, str]:
        """Official tensor of this module that the network does not need -> why."""
        return {}

    @staticmethod
    def valid_parameter_filter(module: nn.Module, key: str, value: Any) -> bool:
        """Count a child module with a leading underscore too (`quantizer._codebook`); MLX regards those as private."""
        return isinstance(value, nn.Module) or nn.Module.valid_parameter_filter(module, key, value)

    def apply(self, map_fn: Callable[[mx.array], mx.array], filter_fn: Any = None) -> nn.Module:
        return super().apply(map_fn, filter_fn or self.valid_parameter_filter)


def rules_of(module: nn.Module) -> dict[str, Rule]:
    """The conversion rules of any MLX module; stock `mlx.nn` modules store their parameters as PyTorch does."""
    if isinstance(module, Module):
        return module.rules()
    return Module.rules(module)  # type: ignore[arg-type]


def _permuted(array: Any, source: str | None, target: str | None) -> Any:
    """Permute a NumPy or MLX array between two namings of its axes, where both apply to its rank."""
    if source is None or target is None or source == target or not len(source) == len(target) == array.ndim:
        return array
    return array.transpose(*(source.index(axis) for axis in target))


def _output_axes(module: nn.Module) -> str:
    return getattr(module, "official_axes", "btc")


def _input_axes(module: nn.Module) -> str:
    return getattr(module, "official_input_axes", None) or _output_axes(module)


def to_official_axes(module: nn.Module, output: mx.array) -> mx.array:
    """Permute an output of `module` from our axes to those of the official module."""
    return _permuted(output, OUR_AXES.get(output.ndim), _output_axes(module))


def to_our_axes(module: nn.Module, output: np.ndarray) -> np.ndarray:
    """Permute an output of the official twin of `module` to our axes."""
    return _permuted(output, _output_axes(module), OUR_AXES.get(output.ndim))


def input_to_official_axes(module: nn.Module, argument: mx.array) -> mx.array:
    """Permute an argument of `module` from our axes to those of the official module."""
    return _permuted(argument, OUR_AXES.get(argument.ndim), _input_axes(module))


def input_to_our_axes(module: nn.Module, argument: np.ndarray) -> np.ndarray:
    """Permute an argument of the official twin of `module` to our axes."""
    return _permuted(argument, _input_axes(module), OUR_AXES.get(argument.ndim))


class Converted(NamedTuple):
    """One of our parameters, made from official tensors."""

    name: str
    array: np.ndarray
    sources: tuple[str, ...]


class KeyAudit(NamedTuple):
    """What became of every official key: `used` maps it to ours, `unused` to the reason."""

    used: dict[str, str]
    unused: dict[str, str]


class OfficialKeyError(ValueError):
    """A checkpoint whose keys or shapes do not fit the network; the message names them all."""


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _few(names: list[str]) -> str:
    shown = ", ".join(plain(name, 80) for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def audit_keys(model: nn.Module, keys: set[str], where: str) -> KeyAudit:
    """Account for every official key: each must be used by one rule or be declared unused.

    Raises:
        OfficialKeyError: a key that a module needs is missing, or a key belongs to nothing. `where` (the file) is
            named in the message.
    """
    used: dict[str, str] = {}
    unused: dict[str, str] = {}
    missing = []
    for path, module in sorted(model.named_modules()):
        for name, rule in rules_of(module).items():
            for source in rule.sources:
                key = _join(path, source)
                if key in keys:
                    used[key] = _join(path, name)
                else:
                    missing.append(key)
        if isinstance(module, Module):
            for name, reason in module.unused().items():
                if _join(path, name) in keys:
                    unused[_join(path, name)] = reason
    surplus = sorted(keys - used.keys() - unused.keys())
    if missing or surplus:
        parts = []
        if missing:
            parts.append(f"missing: {_few(missing)}")
        if surplus:
            parts.append(f"not part of the network: {_few(surplus)}")
        raise OfficialKeyError(f"{where}: the keys do not fit ({'; '.join(parts)}). Is it the right checkpoint?")
    return KeyAudit(used, unused)


def from_official(model: nn.Module, fetch: Callable[[str], np.ndarray], where: str) -> Iterator[Converted]:
    """Make every parameter of `model`, one at a time, from official tensors.

    Args:
        model: its paths are the official ones.
        fetch: official key -> float32 array in the official layout.
        where: file name for messages.

    Raises:
        OfficialKeyError: an official tensor of the wrong shape, named with the shapes.
    """
    for path, module in sorted(model.named_modules()):
        yield from own_from_official(path, module, fetch, where)


def own_from_official(
    path: str, module: nn.Module, fetch: Callable[[str], np.ndarray], where: str
) -> Iterator[Converted]:
    """As `from_official`, the parameters that the module at `path` has itself."""
    for name, rule in rules_of(module).items():
        keys = tuple(_join(path, source) for source in rule.sources)
        tensors = [fetch(key) for key in keys]
        expected = tuple(module[name].shape)
        try:
            array = rule.make(*tensors)
            fits = tuple(array.shape) == expected
        except (ValueError, IndexError):
            fits = False
        if not fits:
            found = ", ".join(f"{key} {list(tensor.shape)}" for key, tensor in zip(keys, tensors, strict=True))
            raise OfficialKeyError(f"{where}: wrong shape: {found} cannot become {_join(path, name)} {list(expected)}")
        yield Converted(_join(path, name), array, keys)


def load_official(model: nn.Module, tensors: Mapping[str, np.ndarray], where: str = "state dict") -> Any:
    """Fill `model` from an official state dict held in memory, both directions checked. Returns `model`."""
    audit_keys(model, set(tensors), where)
    weights = [(c.name, mx.array(c.array)) for c in from_official(model, tensors.__getitem__, where)]
    model.load_weights(weights, strict=True)
    mx.eval(model.parameters())
    return model.eval()
