"""What the stages have in common that compare the loop around flow and vocoder, and not a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from mlx_parity.compare import EPSILON
from parity.stages.base import Stage

if TYPE_CHECKING:
    from mlx_parity.sides.pytorch import TorchSide
    from parity.pair import Pair
    from parity.sides.mlx import MLXSide


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
        return max(map(pair.dtype, self.networks._fields), key=EPSILON.__getitem__)

    def suspect(self, output: str) -> str:
        """The network, as the loop was judged by itself."""
        return "flow" if "mel" in output or output.startswith("voice") else "hift"

    def reference(self, pair: Pair, dtype: str) -> TorchSide:
        from mlx_parity.sides.pytorch import TorchSide

        double = dtype == "float64"
        parts = (
            pair.reference.component(name, dtype if double else pair.dtype(name)) for name in self.networks._fields
        )
        return TorchSide(self.networks(*parts), dtype if double else "float32")

    def model(self, pair: Pair) -> MLXSide:
        from parity.sides.mlx import MLXSide

        return MLXSide(self.networks(*(getattr(pair.model, name) for name in self.networks._fields)))
