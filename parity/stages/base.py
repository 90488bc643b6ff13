"""What a stage of the pipeline is to the parity harness."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mlx_parity.stage import Arrays, Given, Observed, Outputs, Sides
from mlx_parity.stage import Stage as AnyStage
from parity.pieces import call_before
from parity.stages.sampler_trials import ROWS

if TYPE_CHECKING:
    from mlx_parity.sides.pytorch import TorchSide
    from parity.pair import Pair
    from parity.sides.mlx import MLXSide


#: How speech is streamed: by upstream's hops, each over the whole prefix, or by chunks with caches. None: offline.
Streaming = Literal["official", "incremental"]
STREAMING: tuple[Streaming, ...] = ("official", "incremental")


def mode_title(streaming: Streaming | None) -> str:
    """What reports call it."""
    return {None: "offline", "official": "streaming", "incremental": "incremental streaming"}[streaming]


@dataclass(frozen=True)
class Settings:
    """What is asked of a run, beside the inputs. `sampler_rows`: from how many log-probabilities samplers are tried."""

    streaming: Streaming | None = None
    llm_steps: int = 50
    n_timesteps: int = 10
    sampler_rows: int = ROWS


class Stage(AnyStage):
    """One stage of CosyVoice; neither framework is imported here."""

    #: The kinds of streaming (None: offline) in which the stage exists.
    modes: ClassVar[tuple[Streaming | None, ...]] = (None, *STREAMING)
    #: Official paths of modules that it runs as they are, though it has no component.
    runs: ClassVar[tuple[str, ...]] = ()
    witness = "onnxruntime"
    details: ClassVar[tuple[type, ...]] = (Settings,)

    @property
    def components(self) -> tuple[str, ...]:
        """The components whose networks it runs."""
        return (self.component,) if self.component else ()

    def dtype(self, pair: Pair) -> str:
        return pair.dtype(self.component)

    def of_reference(self, pair: Pair, dtype: str) -> Any:
        """What the reference's side holds: its component, if there is one."""
        return pair.reference.component(self.component, dtype) if self.component else None

    def of_model(self, pair: Pair) -> Any:
        """What the port's side holds."""
        return getattr(pair.model, self.component) if self.component else None

    def reference(self, pair: Pair, dtype: str) -> TorchSide:
        from mlx_parity.sides.pytorch import TorchSide

        return TorchSide(self.of_reference(pair, dtype), dtype)

    def model(self, pair: Pair) -> MLXSide:
        from parity.sides.mlx import MLXSide

        return MLXSide(self.of_model(pair), pair.dtype(self.component))

    def call_before(self, path: str, index: int) -> int:
        return call_before(path, index)

    def witnesses(self, pair: Pair, given: Given) -> Outputs | None:
        file = pair.reference.file(self.component)
        return self.asked(file, given) if file else None

    def asked(self, file: Path, given: Given) -> Outputs | None:
        """What ONNX Runtime says of the same inputs on the component's official file, or None."""
        return None

    def measures(self, observed: Observed) -> dict[str, Any]:
        from parity.measures.of_stages import measure

        return measure(observed)


__all__ = ["STREAMING", "Arrays", "Given", "Outputs", "Settings", "Sides", "Stage", "Streaming", "mode_title"]
