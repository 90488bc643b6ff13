"""Finds what an array was made of: activations, gates and sums of what was there before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations, permutations

import numpy as np

from mlx_parity.compare import relative_rms
from mlx_parity.pairing.layout import orders
from mlx_parity.suspects.scene import Scene

Array = np.ndarray
Sources = Mapping[str, Array]

#: More arrays than this are not combined with each other; nor are more than so many added up.
MOST_SOURCES, MOST_TERMS = 8, 3

#: Fewer numbers than this say nothing: a sum of some terms fits them by chance.
LEAST = 64

#: A factor this close to 1 is 1.
NEAR_ONE = 1e-5

#: The name of a constant among terms.
CONSTANT = "1"

_erf: Callable[[Array], Array] = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * x))


#: What reports call an activation -> the function.
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "the exact GELU": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "the GELU by tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "the quick GELU": lambda x: x * _sigmoid(1.702 * x),
    "SiLU": lambda x: x * _sigmoid(x),
    "ReLU": lambda x: np.maximum(x, 0),
    "squared ReLU": lambda x: np.square(np.maximum(x, 0)),
    "the sigmoid": _sigmoid,
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(x, 0),
    "ELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
}


@dataclass(frozen=True)
class Formula:
    """How an array is made of others. `template` is it in words, {} standing for its `activation`."""

    template: str
    make: Callable[..., Array]
    activation: str = ""

    def __str__(self) -> str:
        return self.template.format(self.activation)


def parts_in(scene: Scene, port: Array) -> tuple[Formula, Formula] | None:
    """The formulas of what the port and the reference made, where both are found and they are not one."""
    sources = flat_sources(scene)
    if scene.exact.size < LEAST or not sources:
        return None
    official = formula_of(scene, sources, scene.exact)
    if official is None:
        return None
    mine = formula_of(scene, sources, port)
    if mine is None or str(mine) == str(official):
        return None
    corrected = port.reshape(-1) + official.make(sources) - mine.make(sources)
    return (mine, official) if scene.explains(corrected.reshape(scene.exact.shape)) else None


def formula_of(scene: Scene, sources: Sources, target: Array) -> Formula | None:
    """The simplest formula that gives an array, but for rounding; None if none does."""
    flat = target.reshape(-1).astype(np.float64)
    sampled, wanted = {name: array[scene.sample] for name, array in sources.items()}, flat[scene.sample]
    candidates = (*_pointwise(sources), *_sums(sources, sampled, wanted), *_scaled(sources, sampled, wanted))
    for formula in candidates:
        if relative_rms(formula.make(sampled), wanted) <= 2 * scene.allowed and scene.close(
            formula.make(sources), flat
        ):
            return formula
    return None


def flat_sources(scene: Scene) -> dict[str, Array]:
    """Flat arrays of the target's size; of those of twice that size both halves, as a gate beside what it gates."""
    found: dict[str, Array] = {}
    for name, array in scene.sources.items():
        wide = array.astype(np.float64)
        if array.size == scene.exact.size:
            turned = orders(array.shape, scene.exact.shape)[:1]  # as before a convolution
            found[name] = (wide.transpose(turned[0]) if turned else wide).reshape(-1)
        elif array.size == 2 * scene.exact.size and array.shape[-1] % 2 == 0:
            first, second = np.split(wide, 2, axis=-1)
            found[f"the first half of {name}"], found[f"the second half of {name}"] = first.ravel(), second.ravel()
            found[f"every even one of {name}"] = wide[..., 0::2].ravel()
            found[f"every odd one of {name}"] = wide[..., 1::2].ravel()
    return dict(list(found.items())[:MOST_SOURCES])


def _pointwise(sources: Sources) -> Iterator[Formula]:
    for name in sources:
        yield Formula(name, partial(_product, names=(name,)))
    for name in sources:
        for activation in ACTIVATIONS:
            yield Formula(f"{{}} of {name}", partial(_product, names=(name,), activation=activation), activation)
    for names in combinations(sources, 2):
        yield Formula(" times ".join(names), partial(_product, names=names))
    for gate, gated in permutations(sources, 2):
        for activation in ACTIVATIONS:
            make = partial(_product, names=(gate, gated), activation=activation)
            yield Formula(f"{{}} of {gate}, times {gated}", make, activation)


def _product(arrays: Sources, names: tuple[str, ...], activation: str = "", factor: float = 1.0) -> Array:
    """Arrays multiplied, the first one after its activation."""
    first = arrays[names[0]]
    made = ACTIVATIONS[activation](first) if activation else first
    return factor * (made * arrays[names[1]] if len(names) > 1 else made)


def _scaled(sources: Sources, sampled: Sources, wanted: Array) -> Iterator[Formula]:
    """Pointwise formulas times a number."""
    for formula in _pointwise(sources):
        made = formula.make(sampled)
        factor = float(made @ wanted / max(made @ made, np.finfo(float).tiny))
        if abs(factor - 1) > NEAR_ONE and abs(factor) > NEAR_ONE:
            scaled = partial(formula.make, factor=factor)
            yield Formula(f"{factor:.6g} times {formula.template}", scaled, formula.activation)


def _sums(sources: Sources, sampled: Sources, wanted: Array) -> Iterator[Formula]:
    """Sums of a few sources, each times a number of its own, those with the fewest terms first."""
    ones = {**sampled, CONSTANT: np.ones_like(wanted)}
    for count in range(1, MOST_TERMS + 1):
        for names in combinations(ones, count):
            matrix = np.stack([ones[name] for name in names], axis=1)
            if not np.isfinite(matrix).all() or not np.isfinite(wanted).all():
                continue
            factors, _, rank, _ = np.linalg.lstsq(matrix, wanted, rcond=None)
            if rank == count:
                factors = np.where(abs(factors - 1) < NEAR_ONE, 1.0, factors)

                yield Formula(_sum_in_words(names, factors), partial(_sum, names=names, factors=factors))


def _sum(arrays: Sources, names: tuple[str, ...], factors: Array) -> Array:
    terms = [factor * arrays.get(name, np.float64(1)) for name, factor in zip(names, factors, strict=True)]
    return np.sum(np.broadcast_arrays(*terms, next(iter(arrays.values())))[:-1], axis=0)


def _sum_in_words(names: tuple[str, ...], factors: Array) -> str:
    terms = []
    for name, factor in zip(names, factors, strict=True):
        sign = "-" if factor < 0 else "+"
        size = "" if abs(abs(factor) - 1) < NEAR_ONE and name != CONSTANT else f"{abs(factor):.6g}"
        terms.append(f"{sign} {size if name == CONSTANT else f'{size} times {name}' if size else name}")
    return " ".join(terms).removeprefix("+ ")
