"""What was done to the port's array, or left undone, that makes it the reference's, wherever either came from."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from mlx_parity.audit.evidence import rounded
from mlx_parity.suspects.scene import Scene

Array = np.ndarray

#: Bounds that logits and scores are capped by.
CAPS = (15.0, 20.0, 30.0, 50.0, 100.0)

#: How many places along an axis something is moved at most.
MOST_PLACES = 2

#: Epsilons of norms.
EPSILONS = (1e-6, 1e-5, 1e-8, 1e-12, 1e-3)


def relation(scene: Scene) -> str:
    """In words, how the port's array becomes the reference's; "" where none of these does."""
    port, exact = scene.actual.astype(np.float64), scene.exact
    if not (np.isfinite(port).all() and np.isfinite(exact).all()):
        return ""
    for words, made in _tried(scene, port, exact):
        if scene.explains(made):
            return words
    return _rounding(scene, port, exact)


def _tried(scene: Scene, port: Array, exact: Array) -> Iterator[tuple[str, Array]]:
    """What is said if an array is the reference's, and the array."""
    factor = float((port * exact).sum() / max((port * port).sum(), np.finfo(float).tiny))
    yield _scale_in_words(factor, exact.shape[-1] if exact.ndim else 1), factor * port
    yield f"the port lacks {exact.mean() - port.mean():.6g}, which the reference adds", port + (exact - port).mean()
    yield from _capped(scene, port, exact)
    yield from _moved(port)
    yield from _normed(port, exact)
    yield from _residual(scene, port, exact)
    if exact.ndim > 1 and exact.shape[-1] >= 8:
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = (port * exact).sum(-1, keepdims=True) / (port * port).sum(-1, keepdims=True)
        if np.isfinite(factors).all():
            low, high = factors.min(), factors.max()
            yield (
                f"the port's is the reference's but for a factor at each position, from {low:.4g} to {high:.4g}, "
                "as of weights that are brought to a sum of one on one side alone",
                factors * port,
            )


def _scale_in_words(factor: float, width: int) -> str:
    root = math.sqrt(width)
    short = float(rounded(np.array([root]), "bfloat16")[0])
    if factor and short != root:
        for mine, right, side in ((short, root, "the port"), (root, short, "the reference")):
            if abs(factor * mine / right - 1) < 1e-6:
                return (
                    f"{side} rounds the scale {root:.6g}, the root of the width, to bfloat16, which makes it {short:g}"
                )
    return f"the reference's is {factor:.6g} times the port's"


def _capped(scene: Scene, port: Array, exact: Array) -> Iterator[tuple[str, Array]]:
    for cap in dict.fromkeys((*(number for number in scene.numbers if number > 1), *CAPS)):
        yield f"the port lacks the soft cap at {cap:g}", cap * np.tanh(port / cap)
        if np.abs(port).max(initial=0) < cap:
            yield f"the port has a soft cap at {cap:g}, the reference has none", cap * np.arctanh(port / cap)


def _moved(port: Array) -> Iterator[tuple[str, Array]]:
    for axis in range(port.ndim):
        name = "along the last axis" if axis == port.ndim - 1 else f"along axis {axis}"
        for places in range(-MOST_PLACES, MOST_PLACES + 1):
            if places and port.shape[axis] > 2 * MOST_PLACES:
                shifted = np.roll(port, places, axis)
                yield f"the port's is moved by {-places} {name}", shifted
                edge = [slice(None)] * port.ndim
                edge[axis] = slice(0, places) if places > 0 else slice(places, None)
                cleared = shifted.copy()
                cleared[tuple(edge)] = 0
                yield f"the port's is moved by {-places} {name}, with zeros before", cleared
        if port.shape[axis] > 2:
            yield f"the port's is reversed {name}", np.flip(port, axis)
    width = port.shape[-1] if port.ndim else 0
    if width > 2 and width % 2 == 0:
        pairs = port.reshape(*port.shape[:-1], width // 2, 2)
        halves = port.reshape(*port.shape[:-1], 2, width // 2)
        yield "the port exchanges the halves of the last axis", np.roll(port, width // 2, -1)
        yield "the port exchanges every two neighbours of the last axis", pairs[..., ::-1].reshape(port.shape)
        yield "the port has pairs where the reference has halves", pairs.swapaxes(-1, -2).reshape(port.shape)
        yield "the port has halves where the reference has pairs", halves.swapaxes(-1, -2).reshape(port.shape)


def _normed(port: Array, exact: Array) -> Iterator[tuple[str, Array]]:
    if not port.ndim or port.shape[-1] < 4:
        return
    for eps in EPSILONS:
        yield f"the port lacks an RMS norm (without weights, epsilon {eps:g})", root_mean_square_norm(port, eps)
        centred = port - port.mean(-1, keepdims=True)
        yield f"the port lacks a layer norm (without weights, epsilon {eps:g})", root_mean_square_norm(centred, eps)


def root_mean_square_norm(x: Array, eps: float) -> Array:
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + eps)


def _residual(scene: Scene, port: Array, exact: Array) -> Iterator[tuple[str, Array]]:
    """Something that was there before, once more or once less."""
    for name, source in scene.sources.items():
        if source.size != exact.size:
            continue
        shaped = source.astype(np.float64).reshape(exact.shape)
        factor = float(((exact - port) * shaped).sum() / max((shaped * shaped).sum(), np.finfo(float).tiny))
        once = "" if abs(abs(factor) - 1) < 1e-4 else f"{abs(factor):.6g} times "
        words = f"the port does not add {once}{name}" if factor > 0 else f"the port adds {once}{name} too much"
        yield words, port + factor * shaped


def _rounding(scene: Scene, port: Array, exact: Array) -> str:
    """Whether all of the port's numbers are those of a shorter type, next to the reference's."""
    for dtype, bits in (("bfloat16", 8), ("float16", 11)):
        nearest = rounded(exact, dtype).astype(np.float64)
        step = np.abs(exact) * 2.0**-bits + np.finfo(np.float16).smallest_subnormal * (dtype == "float16")
        short = np.array_equal(rounded(port, dtype), port.astype(np.float32))
        already = np.array_equal(nearest.astype(np.float32), exact.astype(np.float32))
        if short and not already and (np.abs(port - exact) <= step * 1.001 + scene.allowed * np.abs(exact).max()).all():
            return f"the port rounds to {dtype}"
    return ""
