"""Every parameter of a port beside the one of the module's twin, in whatever order its axes are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from mlx_parity.audit.evidence import evidence, rounded
from mlx_parity.compare import EPSILON, Layer, Verdict
from mlx_parity.pairing.layout import Order, orders
from mlx_parity.pairing.modules import Pairing
from mlx_parity.sides import Side
from mlx_parity.sides.recorded import Network

#: Types whose weights both frameworks store alike: an order of axes that fits as well is a mistake, square or not.
ALIKE = ("linear", "embedding", "layernorm", "rmsnorm", "groupnorm", "batchnorm", "instancenorm")

#: By so many steps of float32 a weight may be off that a converter computes itself, as it folds a weight norm.
COMPUTED_STEPS = 4.0

#: What frameworks call the same parameter.
SYNONYMS = ({"weight", "scale", "gamma"}, {"bias", "beta"})

Parameters = dict[str, dict[str, np.ndarray]]


def audit_weights(reference: Network, port: Side, pairing: Pairing, dtype: str) -> list[Layer]:
    """A layer for every parameter of paired modules, and for what either of two twins has alone.

    Args:
        reference: with its module.
        port: with its own.
        pairing: of the two.
        dtype: what the port is stored in: the reference's numbers are rounded to it.
    """
    theirs, ours = reference.modules(), port.modules()
    official = {path: reference.parameters(theirs[path]) for path in pairing.modules}
    layers: list[Layer] = []
    for path, twin in pairing.modules.items():
        right = official[path]
        if port.is_packed(ours[twin]):  # what packing has left of it is right
            right = {name: port.packed(one, ours[twin]) if name == "weight" else one for name, one in right.items()}
        kind = reference.kind(theirs[path]).lower()
        layers += _module(path, kind, right, port.parameters(ours[twin]), official, dtype)
    return layers


def _module(
    path: str,
    kind: str,
    official: Mapping[str, np.ndarray],
    stored: Mapping[str, np.ndarray],
    every: Parameters,
    dtype: str,
) -> Iterator[Layer]:
    wrong = partial(Layer, type="weights", verdict=Verdict.DIVERGED)
    names = {name: _twin(name, official) for name in stored}
    for name, twin in names.items():
        if twin is None:
            if not official:
                continue  # a table of what the reference computes; whether it is right shows in what the module returns
            yield wrong(f"{path}.{name}", shape=stored[name].shape, reason="the reference has no such parameter")
            continue
        found, right = stored[name], official[twin]
        order = _order(kind, name, found, right, dtype)
        if order is not None:
            yield Layer(f"{path}.{name}", "weights", Verdict.PASS, found.shape)
        else:
            laid = _laid_out(found, right)
            reason = evidence(laid, right, dtype, _others(path, name, right.shape, every))
            yield wrong(f"{path}.{name}", shape=found.shape, reason=reason)
    for twin in official.keys() - set(names.values()) if stored else ():  # or the port computes all that it needs
        yield wrong(f"{path}.{twin}", shape=official[twin].shape, reason="the port has no such parameter")


def _twin(name: str, official: Mapping[str, np.ndarray]) -> str | None:
    """What the reference calls a parameter."""
    if name in official:
        return name
    same = next((names for names in SYNONYMS if name in names), set())
    return next(iter(same & official.keys()), None)


def _order(kind: str, name: str, found: np.ndarray, right: np.ndarray, dtype: str) -> Order | None:
    """The order of axes in which a stored parameter is the reference's, if there is one that its type allows."""
    target, slack = rounded(right, dtype), COMPUTED_STEPS * EPSILON["float32"] * np.abs(right)
    least, most = rounded(right - slack, dtype), rounded(right + slack, dtype)
    same = tuple(range(found.ndim))
    for order in orders(found.shape, right.shape):
        if order != same and kind.startswith(ALIKE):
            continue
        laid = found.transpose(order)
        if np.array_equal(laid, target) or np.all((least <= laid) & (laid <= most)):
            return order
    return None


def _laid_out(found: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The stored parameter with axes as long as the reference's, where an order of them makes it so."""
    tried = orders(found.shape, right.shape)
    return found.transpose(tried[0]) if tried else found


def _others(path: str, name: str, shape: tuple[int, ...], every: Parameters) -> Iterator[tuple[str, np.ndarray]]:
    """All parameters of the reference of a shape, but for that one."""
    for owner, parameters in every.items():
        for other, array in parameters.items():
            if array.shape == shape and (owner, other) != (path, name):
                yield f"{owner}.{other}", array
