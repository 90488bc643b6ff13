"""Who is to blame for what is stored wrongly."""

from __future__ import annotations

from collections.abc import Iterable

from mlx_parity.compare import Layer, Verdict
from mlx_parity.findings import Culprit


def culprits_of(layers: Iterable[Layer], stage: str) -> list[Culprit]:
    """The modules that own wrong parameters, and whatever else is wrong by its own name.

    Args:
        layers: of an audit; those of type "weights" bear the path of a parameter.
        stage: that the culprits belong to.
    """
    culprits: dict[str, Culprit] = {}
    for layer in layers:
        if layer.verdict is not Verdict.PASS:
            module, _, parameter = layer.path.rpartition(".")
            if layer.type != "weights":
                module, parameter = layer.path, ""
            known = culprits.setdefault(module, Culprit(module, layer.type, stage, module, layer=layer))
            known.evidence.append(f"`{parameter}` {layer.reason}" if parameter else layer.reason)
    return list(culprits.values())
