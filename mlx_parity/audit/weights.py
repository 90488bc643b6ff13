"""Every parameter of a port beside the one of the module's twin, in whatever order its axes are stored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from mlx_parity.audit.evidence import evidence, rounded
from mlx_parity.compare import EPSILON, Layer, Verdict, relative_rms
from mlx_parity.pairing.layout import Order, orders, without_ones
from mlx_parity.pairing.modules import Pairing
from mlx_parity.sides import Side
from mlx_parity.sides.recorded import Network

#: Types whose weights both frameworks store alike: an order of axes that fits as well is a mistake, square or not.
ALIKE = ("linear", "embedding", "layernorm", "rmsnorm", "groupnorm", "batchnorm", "instancenorm")

#: By so many steps of float32 a weight may be off that a converter computes itself, as it folds a weight norm.
COMPUTED_STEPS = 4.0

#: What frameworks call the same parameter.
SYNONYMS = ({"weight", "scale", "gamma"}, {"bias", "beta"})

#: Of parameters that one side alone has.
ALONE = NOT_IN_REFERENCE, NOT_IN_PORT = "the reference has no such parameter", "the port has no such parameter"

#: The share of a parameter's numbers that are wrong where it is wrong as a whole.
MOST = 0.5

Parameters = dict[str, dict[str, np.ndarray]]


@dataclass
class Audit:
    """What is known of the parameters.

    Attributes:
        layers: one for every parameter of paired modules.
        elsewhere: in words, those that one side keeps in other numbers in parts of a module. What they hold shows in
            what the module returns.
        throughout: paths of those that differ in most of their numbers -> the relative error, infinite where one side
            alone has them. Whatever a module returns depends on that, unless something makes up for it.
    """

    layers: list[Layer] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    throughout: dict[str, float] = field(default_factory=dict)


def audit_weights(reference: Network, port: Side, pairing: Pairing, dtype: str) -> Audit:
    """A layer for every parameter of paired modules, and for what either of two twins has alone.

    What one has alone may stand elsewhere on the other side: it is looked for by its numbers.

    Args:
        reference: with its module.
        port: with its own.
        pairing: of the two.
        dtype: what the port is stored in: the reference's numbers are rounded to it.
    """
    theirs, ours = reference.modules(), port.modules()
    official, stored = (
        {path: side.parameters(module) for path, module in modules.items()}
        for side, modules in ((reference, theirs), (port, ours))
    )
    audit, alone = Audit(), _Alone(official, stored, pairing)
    for path, twin in pairing.modules.items():
        parts = _with_parts(official, path, pairing.only_reference), _with_parts(stored, twin, pairing.only_port)
        right, module = official[path], ours[twin]
        if port.is_packed(module):  # what packing has left of it is right
            right = {name: port.packed(one, module) if name == "weight" else one for name, one in right.items()}
        for layer, deviation in _module(
            path, reference.kind(theirs[path]).lower(), right, stored[twin], official, dtype
        ):
            missing = (NOT_IN_REFERENCE, NOT_IN_PORT).index(layer.reason) if layer.reason in ALONE else None
            moved = alone.twin_of(layer.path, in_port=missing == 0, dtype=dtype) if missing is not None else ""
            if moved:
                audit.layers.append(replace(layer, verdict=Verdict.PASS, reason=f"stands under {moved}"))
            elif missing is not None and parts[missing]:
                side = ("reference", "port")[missing]
                audit.elsewhere.append(f"{layer.path}: the {side} keeps it elsewhere in the module")
            else:
                audit.layers.append(layer)
                if deviation and not port.is_packed(module):  # packed ones are run beside themselves
                    audit.throughout[layer.path] = deviation
    return audit


class _Alone:
    """The parameters of both sides that have no twin by name, which may stand in other modules."""

    def __init__(self, official: Parameters, stored: Parameters, pairing: Pairing) -> None:
        path_of = {twin: path for path, twin in pairing.modules.items()}
        named = {path: stored.get(twin, {}) for path, twin in pairing.modules.items()}
        self.sides = (
            _left((path, own, named.get(path, {})) for path, own in official.items()),
            _left(
                (path_of.get(twin, twin), own, official.get(path_of.get(twin, ""), {})) for twin, own in stored.items()
            ),
        )

    def twin_of(self, path: str, *, in_port: bool, dtype: str) -> str:
        """The other side's name for the same numbers, if there is one alone."""
        mine, others = self.sides[::-1] if in_port else self.sides
        if path not in mine:
            return ""
        equal = [name for name, other in others.items() if _same_numbers(mine[path], other, dtype)]
        return equal[0] if len(equal) == 1 else ""


def _left(
    modules: Iterable[tuple[str, Mapping[str, np.ndarray], Mapping[str, np.ndarray]]],
) -> dict[str, np.ndarray]:
    """Of modules, by path, the parameters that their twins do not have."""
    return {
        f"{path}.{name}": array
        for path, own, other in modules
        for name, array in own.items()
        if _twin(name, other) is None
    }


def _same_numbers(one: np.ndarray, other: np.ndarray, dtype: str) -> bool:
    """Whether arrays hold the same, in whatever shape."""
    return one.size == other.size and np.array_equal(rounded(one.ravel(), dtype), rounded(other.ravel(), dtype))


def _with_parts(every: Parameters, path: str, unpaired: Sequence[str]) -> bool:
    """Whether parts of a module that have no twin hold parameters, as of a projection within a router."""
    return any(every[other] for other in unpaired if other.startswith(f"{path}."))


def _module(
    path: str,
    kind: str,
    official: Mapping[str, np.ndarray],
    stored: Mapping[str, np.ndarray],
    every: Parameters,
    dtype: str,
) -> Iterator[tuple[Layer, float]]:
    """Layers, and how far off a parameter is throughout."""
    wrong = partial(Layer, type="weights", verdict=Verdict.DIVERGED)
    names = {name: _twin(name, official) for name in stored}
    for name, twin in names.items():
        if twin is None:
            if not official:
                continue  # a table of what the reference computes; whether it is right shows in what the module returns
            yield wrong(f"{path}.{name}", shape=stored[name].shape, reason=NOT_IN_REFERENCE), math.inf
            continue
        right = official[twin]
        found = stored[name]
        if found.ndim != right.ndim and without_ones(found.shape) == without_ones(right.shape):
            found = found.reshape(right.shape)
        order = _order(kind, name, found, right, dtype)
        if order is not None:
            yield Layer(f"{path}.{name}", "weights", Verdict.PASS, found.shape), 0.0
        else:
            alike = orders(found.shape, right.shape)
            laid = found.transpose(alike[0]) if alike else found
            reason = evidence(laid, right, dtype, _others(path, name, right.shape, every))
            yield wrong(f"{path}.{name}", shape=found.shape, reason=reason), _deviation(laid, rounded(right, dtype))
    for twin in official.keys() - set(names.values()) if stored else ():  # or the port computes all that it needs
        yield wrong(f"{path}.{twin}", shape=official[twin].shape, reason=NOT_IN_PORT), math.inf


def _deviation(found: np.ndarray, right: np.ndarray) -> float:
    """The relative error of a parameter that is wrong in most of its numbers; 0 of another."""
    if found.shape != right.shape:
        return math.inf
    return relative_rms(found, right) if np.mean(found != right) > MOST else 0.0


def _twin(name: str, official: Mapping[str, np.ndarray]) -> str | None:
    """What the reference calls a parameter."""
    if name in official:
        return name
    same = next((names for names in SYNONYMS if name in names), set())
    return next(iter(same & official.keys()), None)


def _order(kind: str, name: str, found: np.ndarray, right: np.ndarray, dtype: str) -> Order | None:
    """The order of axes in which a stored parameter is the reference's, if there is one that its type allows."""
    same = tuple(range(found.ndim))
    allowed = [order for order in orders(found.shape, right.shape) if order == same or not kind.startswith(ALIKE)]
    target = rounded(right, dtype)
    for order in allowed:
        if np.array_equal(found.transpose(order), target):
            return order
    slack = COMPUTED_STEPS * EPSILON["float32"] * np.abs(right)
    least, most = rounded(right - slack, dtype), rounded(right + slack, dtype)
    for order in allowed:
        laid = found.transpose(order)
        if np.all((least <= laid) & (laid <= most)):
            return order
    return None


def _others(path: str, name: str, shape: tuple[int, ...], every: Parameters) -> Iterator[tuple[str, np.ndarray]]:
    """All parameters of the reference of a shape, but for that one."""
    for owner, parameters in every.items():
        for other, array in parameters.items():
            if array.shape == shape and (owner, other) != (path, name):
                yield f"{owner}.{other}", array
