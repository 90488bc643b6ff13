"""Layouts of a port that are found while it runs, module by module."""

from __future__ import annotations

from typing import Any

import mlx.nn as nn
import numpy as np

from mlx_parity.pairing.layout import Arrangement, Order, arrange, orders

#: Modules whose channels are the last axis in MLX, and the second one in PyTorch.
CHANNELS_LAST = tuple(
    getattr(nn, name)
    for name in (
        *("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "BatchNorm"),
        *("GroupNorm", "InstanceNorm", "MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d"),
    )
    if hasattr(nn, name)
)


class Layouts:
    """What was found of every module: the order of the axes of what it returns and of what it is called with."""

    def __init__(self, found: dict[Any, Order]) -> None:
        self._found = found

    def to_reference(self, module: Any, own: np.ndarray, like: np.ndarray | None, incoming: bool) -> np.ndarray:
        """A port's array as the reference has it; `like` is the reference's, where it is known."""
        if like is not None and np.issubdtype(like.dtype, np.floating):
            arrangement = self._arrangement(module, own, like, incoming)
            if arrangement is not None:
                return arrangement.to_reference(own, like.shape)
        order = self._known(module, own, incoming)
        return own if order is None else own.transpose(order)

    def from_reference(self, module: Any, own: np.ndarray, value: np.ndarray, incoming: bool) -> np.ndarray:
        """The reference's array as the port has it, which has made `own` in its place."""
        arrangement = self._arrangement(module, own, value, incoming)
        if arrangement is not None:
            return arrangement.from_reference(value, own.shape)
        order = self._known(module, own, incoming)  # what it made may be longer or shorter
        return value if order is None or value.ndim != own.ndim else value.transpose(np.argsort(order))

    def _known(self, module: Any, own: np.ndarray, incoming: bool) -> Order | None:
        """The order at other calls, of what goes in for what comes out and the reverse, or the one that is declared."""
        found = (self._found.get(_key(module, own, way)) for way in (incoming, not incoming))
        return next(filter(None, found), _declared(module, own))

    def _arrangement(self, module: Any, own: np.ndarray, right: np.ndarray, incoming: bool) -> Arrangement | None:
        key = _key(module, own, incoming)
        found = arrange(own, right)
        if found:
            if found.sure and len(found.order) == own.ndim:
                self._found.setdefault(key, found.order)
            return found
        # it is wrong in any order: as at other calls, as declared, or in the first that fits
        for order in (self._known(module, own, incoming), *orders(own.shape, right.shape)[:1]):
            if order is not None and tuple(own.shape[axis] for axis in order) == right.shape:
                return Arrangement(own.shape, order)
        return None


def _key(module: Any, own: np.ndarray, incoming: bool) -> tuple[int, bool, int]:
    return id(module), incoming, own.ndim


def _declared(module: Any, own: np.ndarray) -> Order | None:
    """The order that the module's type stands for."""
    if not isinstance(module, CHANNELS_LAST) or own.ndim < 3:
        return None
    return (0, own.ndim - 1, *range(1, own.ndim - 1))
