"""Whether float16, which ends at 65504, can hold what a network computes. That is measured, on drawn inputs.

The network computes in float32 and hands its results on in bfloat16, which reaches as far: what is bfloat16 here would
be float16 in a model of float16, and what is float32 here is that in every model. A layer's weights are read when it is
called, and let go after it, so that memory holds those of one layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from mlx_cosyvoice.mixed import in_float32, is_float
from mlx_cosyvoice.nn import functional
from mlx_cosyvoice.nn.official import Converted

#: The largest number of float16.
LARGEST = 65504.0
#: Everything must be so many times smaller: what people say may reach further than what is drawn here. Weights too, as
#: no run looks up every row of a table, and a large bias hides that something larger was summed before it.
MARGIN = 4


class Reach(NamedTuple):
    """The largest magnitude somewhere in a network.

    Attributes:
        magnitude: infinite where one is not finite.
        path: of a module, or of a weight that is stored.
        what: "is" of a weight; of a module "takes", "gives", or "weighs" for the scores of its attention.
    """

    magnitude: float
    path: str
    what: str

    @property
    def overflows(self) -> bool:
        """Whether float16 cannot hold it with the margin."""
        return not self.magnitude <= LARGEST / MARGIN

    def __str__(self) -> str:
        return f"{self.path} {self.what} {self.magnitude:.2g}"


def overflowing(
    network: nn.Module,
    run: Callable[[], object],
    own: Callable[[str, nn.Module], Iterable[Converted]],
    exact: Callable[[str], bool],
    kept: Collection[str] = (),
) -> list[Reach]:
    """What float16 could not hold, or not with a margin; the largest first.

    Args:
        network: fresh, and of no use afterwards.
        run: calls it.
        own: path and module -> the module's own parameters.
        exact: whether the parameter of a path is float32 in every model.
        kept: paths of modules that are to stay float32 with all below them.
    """
    watch = _Watch(network, own, exact, kept)
    with watch.scores():
        run()
    watch.read_the_rest()
    found = [Reach(magnitude, *place) for place, magnitude in watch.reached.items()]
    return sorted((reach for reach in found if reach.overflows), reverse=True)


class _Watch:
    """Notes what a network reaches: (path, what) -> magnitude in `reached`."""

    def __init__(
        self,
        network: nn.Module,
        own: Callable[[str, nn.Module], Iterable[Converted]],
        exact: Callable[[str], bool],
        kept: Collection[str],
    ) -> None:
        self.reached: dict[tuple[str, str], float] = {}
        self._own, self._exact, self._kept = own, exact, kept
        self._within: list[str] = []
        network.set_dtype(mx.bfloat16)  # some ask a weight which dtype they are to compute in
        self._owners = {path: module for path, module in network.named_modules() if _own_arrays(module)}
        #: Those with weights that are float16 in a model of float16.
        self._half = {path for path, module in self._owners.items() if self._may_be_half(path, module)}
        self._unread = dict(self._owners)
        for path, module in network.named_modules():
            if callable(module):
                module.__class__ = self._watched(path, module)

    def _may_be_half(self, path: str, module: nn.Module) -> bool:
        kept = any(f"{path}.".startswith(f"{outer}.") for outer in self._kept)
        return not kept and not all(self._exact(f"{path}.{name}") for name in _own_arrays(module))

    def _watched(self, path: str, module: nn.Module) -> type:
        """The module's class, for it to be seen, and to have its weights, while it runs."""
        watch, cls = self, type(module)
        layer = path in self._owners and not module.children()
        if path in self._kept or (layer and path in self._half):
            cls = in_float32(cls, mx.bfloat16)

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            watch._note(path, "takes", (args, kwargs))
            watch._within.append(path)
            with watch._filled(path, self, layer):
                given = cls.__call__(self, *args, **kwargs)  # type: ignore[operator]
                watch._note(path, "gives", given)
            watch._within.pop()
            return given

        return type(cls.__name__, (cls,), {"__call__": call})

    def _note(self, path: str, what: str, values: Any) -> None:
        leaves: list[tuple[str, Any]] = tree_flatten(values)  # type: ignore[assignment]
        arrays = [value for _, value in leaves if is_float(value)]
        mx.eval(arrays)  # whose weights are about to be let go
        # PyTorch's layers give float16 where their weights are that, though MLX's may give float32
        found = [_magnitude(array) for array in arrays if array.dtype == mx.bfloat16 or path in self._half]
        self.reached[path, what] = max([self.reached.get((path, what), 0.0), *found])

    @contextmanager
    def _filled(self, path: str, module: nn.Module, layer: bool) -> Iterator[None]:
        """Lets a module have its own weights."""
        if path not in self._owners:
            yield
            return
        empty = _own_arrays(module)
        for converted in self._read(path):
            wide = layer or self._exact(converted.name)
            weight = mx.array(converted.array).astype(mx.float32 if wide else mx.bfloat16)
            module[converted.name.rpartition(".")[2]] = weight
        yield
        for name, array in empty.items():
            module[name] = array

    def _read(self, path: str) -> Iterator[Converted]:
        first = self._unread.pop(path, None) is not None
        for converted in self._own(path, self._owners[path]):
            if first and path in self._half and not self._exact(converted.name):
                ends = float(converted.array.max()), -float(converted.array.min())
                self.reached[converted.name, "is"] = max(ends)
            yield converted

    def read_the_rest(self) -> None:
        """Weights that no run has used are stored as well."""
        for path in list(self._unread):
            for _ in self._read(path):
                pass

    @contextmanager
    def scores(self) -> Iterator[None]:
        """Notes what goes into every softmax meanwhile: that is computed between modules."""
        attention = functional.attention

        def noting(q: mx.array, blocks: Any, *, scale: float, mask: Any = None) -> mx.array:
            if q.dtype == mx.bfloat16:
                self._note(self._within[-1], "weighs", [_scores(q, [keys for keys, _ in blocks], scale), mask])
            return attention(q, blocks, scale=scale, mask=mask)

        functional.attention = noting
        try:
            yield
        finally:
            functional.attention = attention


def _own_arrays(module: nn.Module) -> dict[str, mx.array]:
    return {name: value for name, value in module.items() if isinstance(value, mx.array)}


def _magnitude(array: mx.array) -> float:
    """The largest: the order of bfloat16 numbers is that of their bits, without the sign."""
    if not array.size:
        return 0.0
    bits = int((np.array(array.astype(mx.bfloat16).view(mx.uint16)) & 0x7FFF).max())
    magnitude = float(np.array([bits << 16], np.uint32).view(np.float32)[0])
    return magnitude if np.isfinite(magnitude) else np.inf


def _scores(q: mx.array, keys: list[mx.array], scale: float) -> mx.array:
    """What each query [B, H, T, D] makes of each key [B, K, S, D], where H / K heads share one; bfloat16."""
    key = mx.concatenate(keys, axis=2).astype(mx.float32)
    query = (q.astype(mx.float32) * scale).reshape(*key.shape[:2], -1, q.shape[3])
    return (query @ key.swapaxes(2, 3)).astype(mx.bfloat16)
