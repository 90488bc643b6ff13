"""Norms in float64, and by what two of them differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from mlx_parity.suspects.scene import Scene

Array = np.ndarray

#: Epsilons that norms have.
EPSILONS = (1e-5, 1e-6, 1e-8, 1e-7, 1e-12, 1e-3, 1e-4, 0.0)

#: In how many groups channels are normalised.
GROUPS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Norm:
    """One way of normalising the last axis, field by field as it is said: the mean is taken off or not, and so on."""

    eps: float
    centred: bool
    weight: str
    groups: int

    def __call__(self, x: Array, weight: Array | None, bias: Array | None) -> Array:
        grouped = x.reshape(*x.shape[:-1], self.groups, -1)
        if self.centred:
            grouped = grouped - grouped.mean(-1, keepdims=True)
        with np.errstate(invalid="ignore"):  # of a row of zeros without eps nothing is left
            made = (grouped / np.sqrt(np.square(grouped).mean(-1, keepdims=True) + self.eps)).reshape(x.shape)
        if weight is not None and self.weight:
            made = made * (weight + 1 if self.weight == "its weights plus 1" else weight)
        return made if bias is None else made + bias


def norm_apart(scene: Scene) -> str:
    """By what the port's norm differs from the reference's, in words; "" if either is no norm that is known."""
    x = next((one.astype(np.float64) for one in scene.sources.values() if one.shape == scene.exact.shape), None)
    if x is None or not x.ndim or x.shape[-1] < 4:
        return ""
    weight, bias = (scene.parameters.get(name) for name in ("weight", "bias"))
    if any(one is not None and one.shape != x.shape[-1:] for one in (weight, bias)):
        return ""
    made = [(norm, norm(x, weight, bias)) for norm in _norms(scene, x.shape[-1], weight is not None)]
    official = [(norm, one) for norm, one in made if scene.explains(one)]
    mine = [(norm, one) for norm, one in made if scene.close(one, scene.actual)]
    for norm, right in official:
        for other, one in sorted(mine, key=lambda pair: len(_apart(pair[0], norm))):
            if other != norm and scene.explains(scene.actual - one + right):
                return _in_words(other, norm)
    return ""


def _norms(scene: Scene, width: int, weighted: bool) -> Iterator[Norm]:
    numbers = [number for number in scene.numbers if 0 < number < 0.1]
    for eps in dict.fromkeys((*numbers, *EPSILONS)):
        for groups in GROUPS:
            if width % groups == 0 and width // groups > 1:
                for centred in (False, True):
                    for weight in ("its weights", "its weights plus 1", "") if weighted else ("",):
                        yield Norm(eps, centred, weight, groups)


def _apart(norm: Norm, other: Norm) -> list[str]:
    """The fields in which two differ."""
    return [one.name for one in fields(norm) if getattr(norm, one.name) != getattr(other, one.name)]


def _in_words(port: Norm, official: Norm) -> str:
    def said(norm: Norm) -> dict[str, str]:
        return {
            "eps": f"an epsilon of {norm.eps:g}",
            "centred": "a layer norm" if norm.centred else "an RMS norm",
            "weight": f"multiplies by {norm.weight or 'nothing'}",
            "groups": f"{norm.groups} groups of channels" if norm.groups > 1 else "all channels together",
        }

    verbs = {"eps": "has ", "centred": "is ", "weight": "", "groups": "normalises "}
    names, mine, right = _apart(port, official), said(port), said(official)
    return "; ".join(f"the port {verbs[name]}{mine[name]}, the reference {right[name]}" for name in names)
