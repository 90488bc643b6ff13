"""Usual suspects: what a wrong place most often comes from, tried in float64 on the arrays that were captured there.

A cause is named only where it brings the error back within the floor; where nothing does, none is.
"""

from __future__ import annotations

from mlx_parity.suspects.formulas import parts_in
from mlx_parity.suspects.hypotheses import attention_apart
from mlx_parity.suspects.norms import norm_apart
from mlx_parity.suspects.relations import relation
from mlx_parity.suspects.scene import MOST, Scene

__all__ = ["Scene", "probable_cause"]


def probable_cause(scene: Scene) -> str:
    """What brings the port's value back to the reference's, in words; "" if nothing that is tried does."""
    if scene.exact.size > MOST or scene.actual.shape != scene.exact.shape or scene.explains(scene.actual):
        return ""
    return norm_apart(scene) or _formulas_apart(scene) or attention_apart(scene) or relation(scene)


def _formulas_apart(scene: Scene) -> str:
    found = parts_in(scene, scene.actual)
    if found is None:
        return ""
    port, official = found
    if port.template == official.template and port.activation:
        of = port.template.partition(" of ")[2]
        return f"the port applies {port.activation} to {of}, the reference {official.activation}"
    return f"the port makes {port}, the reference {official}"
