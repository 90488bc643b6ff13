"""Packed layers beside the official weights: the grid of every group, and every number on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.quantize import SCALE_DTYPES
from mlx_cosyvoice.weights import DTYPES
from mlx_parity.audit.evidence import evidence, rounded
from mlx_parity.compare import EPSILON, Layer, Verdict

#: Weights that are judged at a time.
BLOCK = 1 << 20

#: How near to the middle between two choices a number must be for either to be right: division is not exact everywhere.
TIE = 1e-3

PARTS = ("weight", "scales", "biases")
Parts = Mapping[str, mx.array]


class Grid(NamedTuple):
    """The quantizer's grid for groups of weights [rows, groups, size]; scale and bias are [rows, groups].

    `tied` are those groups where rounding decides between two grids.
    """

    scale: np.ndarray
    bias: np.ndarray
    tied: np.ndarray


def grid_of(groups: np.ndarray, bits: int) -> Grid:
    """MLX's affine grid, in float32: it begins at the end of the range that is farther from zero, and zero is on it."""
    low, high = groups.min(axis=-1), groups.max(axis=-1)
    below = np.abs(low) > np.abs(high)
    step = np.maximum((high - low) / np.float32(2**bits - 1), np.float32(1e-7))
    step = np.where(below, step, -step)
    edge = np.where(below, low, high)
    place = np.rint(edge / step)
    middle = np.abs(np.abs(edge / step - place) - 0.5) < TIE
    on_zero = place == 0
    scale = np.where(on_zero, step, edge / np.where(on_zero, 1, place))
    return Grid(scale, np.where(on_zero, 0, edge), middle | (np.abs(low) == np.abs(high)))


def unpacked(packed: np.ndarray, bits: int) -> np.ndarray:
    """uint32 [rows, n] -> the numbers in them, lowest bits first: float32 [rows, n * 32 / bits]."""
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    numbers = (packed[..., None] >> shifts) & np.uint32(2**bits - 1)
    return numbers.reshape(*packed.shape[:-1], -1).astype(np.float32)


def audit_packed(path: str, parts: Parts, official: np.ndarray, bits: int, size: int, dtype: str) -> Iterator[Layer]:
    """A layer for each part of a packed weight.

    Args:
        path: of the module, with a dot behind it.
        parts: `weight` (uint32), `scales` and `biases`.
        official: the weight in full, float32.
        bits: of a packed number.
        size: how many weights share a scale and a bias.
        dtype: of the component.
    """
    stored = SCALE_DTYPES[dtype]
    if all(_is_packed_so(part, weight, bits, size, stored) for part, weight in _blocks(parts, official, stored)):
        yield from (Layer(path + name, "weights", Verdict.PASS, parts[name].shape) for name in PARTS)
    else:
        yield from _judged(path, parts, official, bits, size, stored)


def _blocks(parts: Parts, official: np.ndarray, dtype: str) -> Iterator[tuple[dict[str, mx.array], np.ndarray]]:
    """Some rows at a time: of the parts, and of the weight in the numbers that were packed."""
    rows = max(1, BLOCK // official.shape[-1])
    for start in range(0, len(official), rows):
        block = slice(start, start + rows)
        yield {name: parts[name][block] for name in PARTS}, rounded(official[block], dtype)


def _is_packed_so(parts: Mapping[str, mx.array], weight: np.ndarray, bits: int, size: int, dtype: str) -> bool:
    """Whether MLX's own quantizer gives these bits here. On another device it may round otherwise."""
    packed = mx.quantize(mx.array(weight).astype(DTYPES[dtype]), group_size=size, bits=bits)
    return all(mx.array_equal(parts[name], made).item() for name, made in zip(PARTS, packed, strict=True))


def _judged(path: str, parts: Parts, official: np.ndarray, bits: int, size: int, stored: str) -> Iterator[Layer]:
    """A layer for each part, by the grid that the official weights make."""
    wrong, worst, grids = 0, 0.0, []
    for part, weight in _blocks(parts, official, stored):
        groups = weight.reshape(*part["scales"].shape, size)
        grid = grid_of(groups, bits)
        off = _off_the_grid(groups, part, grid, bits, stored)
        wrong, worst = wrong + int(np.sum(~(off <= 0))), max(worst, float(np.nan_to_num(off, nan=np.inf).max()))
        grids.append(grid)
    grid = Grid(*map(np.concatenate, zip(*grids, strict=True)))
    yield _grid_layer(f"{path}scales", parts["scales"], grid.scale, grid.tied, stored)
    yield _grid_layer(f"{path}biases", parts["biases"], grid.bias, grid.tied, stored)
    reason = f"{wrong} packed numbers are more than half a step off, up to {0.5 + worst:.3g} steps" if wrong else ""
    verdict = Verdict.DIVERGED if wrong else Verdict.PASS
    yield Layer(f"{path}weight", "weights", verdict, parts["weight"].shape, reason=reason)


def _off_the_grid(groups: np.ndarray, parts: Mapping[str, mx.array], grid: Grid, bits: int, dtype: str) -> np.ndarray:
    """By how many steps more than half a step each number is off: nothing in a right one."""
    scales, biases = (np.array(parts[name].astype(mx.float32)) for name in PARTS[1:])
    # the numbers were found before the scale was rounded
    scale, bias = (np.where(grid.tied, own, exact) for own, exact in ((scales, grid.scale), (biases, grid.bias)))
    place = np.clip((groups - bias[..., None]) / scale[..., None], 0, 2**bits - 1)
    numbers = unpacked(np.array(parts["weight"]), bits).reshape(groups.shape)
    allowed = 0.5 + TIE + np.where(grid.tied, 2**bits * EPSILON[dtype], 0)
    off: np.ndarray = np.abs(numbers - place) - allowed[..., None]
    return off


def _grid_layer(path: str, array: mx.array, expected: np.ndarray, tied: np.ndarray, dtype: str) -> Layer:
    """Scales or biases, which are those of the official weights but for rounding."""
    found = np.array(array.astype(mx.float32))
    if np.all(tied | (np.abs(found - expected) <= EPSILON[dtype] * np.abs(expected))):
        return Layer(path, "weights", Verdict.PASS, found.shape)
    return Layer(path, "weights", Verdict.DIVERGED, found.shape, reason=evidence(found, expected, dtype, ()))
