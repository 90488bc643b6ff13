"""What the stages have in common that compare the loop around flow and vocoder, and not a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from parity.compare import EPSILON
from parity.stages.base import Stage

if TYPE_CHECKING:
    import torch

    from parity.pair import Pair
    from parity.sides.mlx import MLXSide
    from parity.sides.pytorch import TorchSide


class PartRaisedError(Exception):
    """What a part of a loop raised, which is the cause of this. `part` is its path."""

    def __init__(self, part: str, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.part = part


@contextmanager
def part(path: str) -> Iterator[None]:
    """Whatever is raised within is this part's.

    Raises:
        PartRaisedError: of any exception.
    """
    try:
        yield
    except Exception as error:
        raise PartRaisedError(path, error) from error


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

    def reference(self, pair: Pair, dtype: torch.dtype) -> TorchSide:
        from parity.pair import DTYPES
        from parity.sides.pytorch import TorchSide

        dtypes = {name: DTYPES[pair.dtype(name)] if dtype.itemsize < 8 else dtype for name in self.networks._fields}
        return TorchSide(self.networks(*(pair.reference.component(*item) for item in dtypes.items())), dtype)

    def model(self, pair: Pair) -> MLXSide:
        from parity.sides.mlx import MLXSide

        return MLXSide(self.networks(*(getattr(pair.model, name) for name in self.networks._fields)))
