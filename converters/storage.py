"""In which form each tensor of a component is written: its dtype, and whether it is packed into 4 or 8 bits."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from converters.write import PACKED, Entry
from mlx_cosyvoice.families import Component, Family
from mlx_cosyvoice.mixed import outermost
from mlx_cosyvoice.nn.official import rules_of
from mlx_cosyvoice.quantize import SCALE_DTYPES, Quantization, is_candidate
from mlx_cosyvoice.quoting import quoted
from mlx_cosyvoice.weights import DTYPES


def check_quantizable(components: Iterable[str], family: Family) -> list[str]:
    """The components, each once, in their usual order.

    Raises:
        ValueError: none is named, or one that may not be packed; with the reason.
    """
    names, known = list(components), [one.name for one in family.components if not one.not_quantized]
    for name in names:
        if name not in family.names:
            raise ValueError(f"quantize_components: {name!r} is not one of {', '.join(known)}")
        if name not in known:
            raise ValueError(f"quantize_components: {name} cannot be quantized: {family[name].not_quantized}")
    if not names:
        raise ValueError(f"quantize_components: name at least one of {', '.join(known)}")
    return [name for name in known if name in names]


def check_kept(kept: Iterable[str], modules: Mapping[str, nn.Module], family: Family) -> list[str]:
    """The paths of layers that shall stay float32, sorted.

    Args:
        kept: "COMPONENT.official.path" of a module, or of a list of modules.
        modules: component -> its network.
        family: theirs.

    Raises:
        ValueError: no module has that path; near ones are named.
    """
    known = {
        ".".join([component, *path.split(".")[:end]])
        for component, network in modules.items()
        for path, module in network.named_modules()
        if path and module.parameters()
        for end in range(1, path.count(".") + 2)
    }
    for path in kept:
        if path in known:
            continue
        if path in family.names:
            raise ValueError(f"layer {path!r} is a whole component: use --keep-float32 {path}")
        component = path.split(".")[0]
        if component in family.names and component not in modules:
            raise ValueError(f"layer {quoted(path)}: {component} is not among the components that are converted")
        near = difflib.get_close_matches(path[:200], sorted(known), n=3)
        raise ValueError(f"there is no layer {quoted(path)}" + (f"; there is {', '.join(near)}" if near else ""))
    return sorted(set(kept))


@dataclass
class Storage:
    """The form of one component.

    Attributes:
        declared: what it is.
        network: its module, never filled.
        dtype: of what is not packed and no exception.
        kept: paths of modules that stay float32, with all below them.
        quantization: how layers are packed; None to pack none.
    """

    declared: Component
    network: nn.Module
    dtype: str
    kept: list[str] = field(default_factory=list)
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        modules = {
            f"{self.component}.{path}" if path else self.component: m for path, m in self.network.named_modules()
        }
        own = [path for path in self.kept if path.startswith(f"{self.component}.")]
        #: Outermost modules that are exceptions.
        self.exceptions: list[str] = outermost(modules, own)
        self.packed: dict[str, tuple[int, ...]] = {}
        #: Layers that would be packed, but for a reason.
        self.in_full: dict[str, str] = {}
        for path, module in sorted(modules.items()):
            if self.quantization is None or not is_candidate(module):
                continue
            width = module["weight"].shape[-1]
            if self._is_kept(path):
                self.in_full[path] = "kept in float32"
            elif not self.quantization.fits(module):
                self.in_full[path] = f"its width {width} is no multiple of the group size"
            else:
                self.packed[path] = tuple(module["weight"].shape)

    @property
    def component(self) -> str:
        """Its name."""
        return self.declared.name

    def _is_kept(self, path: str) -> bool:
        return any(path == kept or path.startswith(f"{kept}.") for kept in self.exceptions)

    @property
    def layer_dtypes(self) -> dict[str, str]:
        """The exceptions that config.json has to tell; none where everything is float32."""
        return dict.fromkeys(self.exceptions, "float32") if self.dtype != "float32" else {}

    def _dtype_of(self, name: str) -> str:
        exact = self.declared.always_float32(name.removeprefix(f"{self.component}."))
        return "float32" if exact or self._is_kept(name.rpartition(".")[0]) else self.dtype

    def entries(self) -> Iterator[Entry]:
        """Every tensor that will be written."""
        for path, module in sorted(self.network.named_modules()):
            owner = f"{self.component}.{path}" if path else self.component
            for parameter in rules_of(module):
                name, shape = f"{owner}.{parameter}", tuple(module[parameter].shape)
                if parameter == "weight" and owner in self.packed and self.quantization is not None:
                    scales = self.quantization.scales_shape(shape)
                    yield Entry(name, PACKED, self.quantization.packed_shape(shape))
                    yield Entry(f"{owner}.scales", SCALE_DTYPES[self.dtype], scales)
                    yield Entry(f"{owner}.biases", SCALE_DTYPES[self.dtype], scales)
                else:
                    yield Entry(name, self._dtype_of(name), shape)

    def stored(self, name: str, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """What is written of a tensor of the network: itself, or a packed weight with its scales and biases.

        Raises:
            OverflowError: a value is too large for the dtype of the scales.
        """
        owner, _, parameter = name.rpartition(".")
        if parameter != "weight" or owner not in self.packed or self.quantization is None:
            yield name, array
            return
        rounded = mx.array(array).astype(DTYPES[SCALE_DTYPES[self.dtype]])
        if not mx.isfinite(rounded).all().item():
            raise OverflowError(f"holds {np.abs(array).max():.3g}, which is too large for {SCALE_DTYPES[self.dtype]}")
        packed, scales, biases = self.quantization.pack(rounded)
        yield name, np.array(packed)
        yield f"{owner}.scales", np.array(scales.astype(mx.float32))
        yield f"{owner}.biases", np.array(biases.astype(mx.float32))
        del rounded, packed, scales, biases
        mx.clear_cache()  # else MLX would hold on to the largest buffers of every size


def quantization_settings(storages: Iterable[Storage]) -> dict[str, Any] | None:
    """`quantization` of config.json; None where nothing is packed."""
    settings: dict[str, Any] = {}
    for storage in storages:
        if storage.quantization is not None:
            settings |= {"group_size": storage.quantization.group_size, "bits": storage.quantization.bits}
            settings |= {"mode": "affine", **dict.fromkeys(storage.in_full, False)}
    return settings or None
