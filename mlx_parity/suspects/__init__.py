"""Usual suspects: what a wrong place most often comes from, tried in float64 on the arrays that were captured there.

A cause is named only where it brings the error back within the floor; where nothing does, none is.
"""

from mlx_parity.suspects.causes import probable_cause
from mlx_parity.suspects.scene import Scene

__all__ = ["Scene", "probable_cause"]
