"""What the stages have in common that compare the loop around flow and vocoder, and not a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from mlx_parity.compare import EPSILON
from parity.stages.base import Stage

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
