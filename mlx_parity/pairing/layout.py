"""In which order the axes of a port's array are, found by holding it against the reference's."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from mlx_parity.compare import relative_rms

#: An order of axes: `array.transpose(order)` has the reference's.
Order = tuple[int, ...]

#: Where no order of axes is close to the reference, an error of this size tells an order that is merely inaccurate.
CLOSE = 0.2

#: A second order that is at most so many times as far off is as good.
ALIKE = 4.0


def orders(shape: tuple[int, ...], expected: tuple[int, ...]) -> list[Order]:
    """All orders in which the axes of an array of one shape are as long as those of another, as they are first."""
    if len(shape) != len(expected) or sorted(shape) != sorted(expected):
        return []
    axes = sorted(permutations(range(len(shape))), key=lambda order: order != tuple(range(len(shape))))
    return [order for order in axes if tuple(shape[axis] for axis in order) == expected]


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without axes of length 1, which one side may lack: a table that is broadcast over heads, say."""
    return tuple(length for length in shape if length != 1)


def shaped(value: np.ndarray, own: tuple[int, ...]) -> np.ndarray:
    """The reference's array in the shape that a port's has: with other axes of length 1, or broadcast.

    So is a mask that is the same for the whole batch. Where neither is possible it stays as it is.
    """
    if without_ones(value.shape) == without_ones(own):
        return value.reshape(own)
    try:
        fits = np.broadcast_shapes(value.shape, own) == own
    except ValueError:
        return value
    return np.broadcast_to(value, own) if fits else value


@dataclass(frozen=True)
class Arrangement:
    """How a port's array becomes the reference's: in another shape of as many numbers, then with its axes reordered.

    It is `sure` unless other orders are as close, as those of an array that is symmetric.
    """

    shape: tuple[int, ...]
    order: Order
    sure: bool = True

    def to_reference(self, own: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """A port's array, in the shape that the reference's has."""
        return own.reshape(self.shape).transpose(self.order).reshape(shape)

    def from_reference(self, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The reverse, in the shape that the port's has."""
        permuted = value.reshape([self.shape[axis] for axis in self.order])
        return permuted.transpose(np.argsort(self.order)).reshape(shape)


def arrange(own: np.ndarray, right: np.ndarray) -> Arrangement | None:
    """The arrangement in which an array is closest to the reference's, also where it is not within the noise.

    None where it is close in no order.
    """
    if own.size != right.size:
        return None
    if own.ndim == right.ndim:
        return _closest(own, right)
    long, wanted = without_ones(own.shape), without_ones(right.shape)
    if sorted(long) == sorted(wanted):
        return _closest(own.reshape(long), right.reshape(wanted))
    merged = Arrangement(right.shape, tuple(range(right.ndim)))
    return merged if relative_rms(merged.to_reference(own, right.shape), right) < CLOSE else None


def _closest(own: np.ndarray, right: np.ndarray) -> Arrangement | None:
    tried = orders(own.shape, right.shape)
    if len(tried) < 2:
        return Arrangement(own.shape, tried[0]) if tried else None
    errors = {order: relative_rms(own.transpose(order), right) for order in tried}
    best = min(tried, key=errors.__getitem__)
    rivals = [order for order in tried if errors[order] <= ALIKE * errors[best]]
    return Arrangement(own.shape, rivals[0], len(rivals) == 1) if errors[best] < CLOSE else None


def aligned(own: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A port's array as the reference has it.

    Where no arrangement is close it stays as it is, or in the first order that gives the right shape: what is judged
    is wrong in any.
    """
    if not np.issubdtype(own.dtype, np.floating):
        return own
    found = arrange(own, right)
    if found:
        return found.to_reference(own, right.shape)
    tried = orders(own.shape, right.shape)
    if tried:
        return own.transpose(tried[0])
    alike = own.size == right.size and own.shape[-1:] == right.shape[-1:]
    return own.reshape(right.shape) if alike else own
