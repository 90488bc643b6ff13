"""What the stages have in common that compare the loop around flow and vocoder, and not a network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from mlx_parity.compare import EPSILON, FACTOR, relative_rms
from parity.stages import convolutions
from parity.stages.base import Sides, Stage

if TYPE_CHECKING:
    from mlx_parity.sides.pytorch import TorchSide
    from parity.pair import Pair


class Networks(NamedTuple):
    """The two components that the loop runs."""

    flow: Any
    hift: Any


class Loop(Stage):
    """A stage whose side holds the networks that it runs: their names are those of components."""

    networks: ClassVar[Any] = Networks

    @property
    def components(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self.networks._fields
        return names

    def dtype(self, pair: Pair) -> str:
        """The coarsest of its networks' dtypes."""
        return max(map(pair.dtype, self.components), key=EPSILON.__getitem__)

    def owner(self, output: str) -> tuple[str, str]:
        return convolutions.owner_of(output) if " " in output else super().owner(output)

    def suspect(self, output: str) -> str:
        """The network, as the loop was judged by itself."""
        return "flow" if "mel" in output or output.startswith("voice") else "hift"

    def of_reference(self, pair: Pair, dtype: str) -> Any:
        dtypes = {name: dtype if dtype == "float64" else pair.dtype(name) for name in self.components}
        return self.networks(*(pair.reference.component(name, own) for name, own in dtypes.items()))

    def of_model(self, pair: Pair) -> Any:
        return self.networks(*(getattr(pair.model, name) for name in self.components))

    def reference(self, pair: Pair, dtype: str) -> TorchSide:
        """The loop itself works in float32, whatever its networks do."""
        return super().reference(pair, dtype if dtype == "float64" else "float32")


def phase_floor(
    name: str, sides: Sides, actual: np.ndarray | None, expected: np.ndarray | None, exact: np.ndarray | None
) -> float:
    """The noise floor of an output that hangs on the phase of an excitation, by the F0 [1, T] of all sides.

    Errors of F0 add up in the phase: MLX's may lean to one side where the reference's cancel each other. 0 where F0 is
    not known of all sides, or is wrong itself.
    """
    if actual is None or expected is None or exact is None:
        return 0.0
    own, theirs = drift(actual, exact), drift(expected, exact)
    if not (theirs and math.isfinite(own) and math.isfinite(theirs)):
        return 0.0
    if relative_rms(actual, exact) > FACTOR * relative_rms(expected, exact):
        return 0.0
    return own / theirs * relative_rms(sides.expected.tensors[name], sides.exact.tensors[name])


def drift(f0: np.ndarray, exact: np.ndarray) -> float:
    """How far the sums of two F0 [1, T] are apart, in the root mean square; infinite where they cannot be compared."""
    if f0.shape != exact.shape:
        return math.inf
    return math.sqrt(np.mean(np.cumsum(f0 - exact, axis=1, dtype=np.float64) ** 2))
