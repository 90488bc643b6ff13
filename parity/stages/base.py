"""What a stage of the pipeline is to the parity harness."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from parity.compare import EPSILON
from parity.pieces import Piece
from parity.sides import Side
from parity.stages.sampler_trials import ROWS
from parity.tape import Tape

if TYPE_CHECKING:
    import torch

    from parity.pair import Pair
    from parity.sides.mlx import MLXSide
    from parity.sides.pytorch import TorchSide

#: Arrays by name, in the official layout. What stages hand on; always made by the reference.
Arrays = Mapping[str, np.ndarray]


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


@dataclass
class Outputs:
    """What one side computed.

    `tensors` are compared like layers. `tokens` must be equal, except where rounding decides, which `Stage.near_ties`
    says; for its default, `margins` holds for every token how far its decision was from tipping over (any unit; the
    same on both sides). `details` are not compared: what the reference's outputs hand to the stage's other methods.
    """

    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    tokens: dict[str, np.ndarray] = field(default_factory=dict)
    margins: dict[str, np.ndarray] = field(default_factory=dict)
    details: Any = None


@dataclass(frozen=True)
class Sides:
    """What a stage put out: MLX, the reference in the working dtype, and the reference in float64."""

    actual: Outputs
    expected: Outputs
    exact: Outputs


class Stage(ABC):
    """One stage. Its `call` is written once, against a `Side`; neither framework is imported here."""

    name: ClassVar[str]
    title: ClassVar[str]
    #: Name of the component in `Pair.reference` and `Pair.model`, and prefix of its official paths; "" for none.
    component: ClassVar[str] = ""
    #: Names of the arrays that the stage reads, and of those that it adds.
    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ()
    #: Output -> the official module that makes it, where that is not the component itself.
    owners: ClassVar[Mapping[str, str]] = {}
    #: Official paths of modules that it runs as they are, though it has no component.
    runs: ClassVar[tuple[str, ...]] = ()
    #: The kinds of streaming (None: offline) in which the stage exists.
    modes: ClassVar[tuple[Streaming | None, ...]] = (None, *STREAMING)

    @property
    def components(self) -> tuple[str, ...]:
        """The components whose networks it runs."""
        return (self.component,) if self.component else ()

    def dtype(self, pair: Pair) -> str:
        """What the stage works in, a key of `EPSILON`."""
        return pair.dtype(self.component)

    def reference(self, pair: Pair, dtype: torch.dtype) -> TorchSide:
        """The reference's side, to run in `dtype`."""
        from parity.sides.pytorch import TorchSide

        return TorchSide(pair.reference.component(self.component, dtype) if self.component else None, dtype)

    def model(self, pair: Pair) -> MLXSide:
        """The side of the MLX model."""
        from mlx_cosyvoice.weights import DTYPES
        from parity.sides.mlx import MLXSide

        module = getattr(pair.model, self.component) if self.component else None
        return MLXSide(module, DTYPES[pair.dtype(self.component)])

    def prepare(self, side: Side, inputs: Arrays, tape: Tape, settings: Settings) -> dict[str, Any]:
        """Inputs of this stage that only the reference can make, in the working dtype."""
        return {}

    @abstractmethod
    def call(self, side: Side, inputs: Arrays, tape: Tape, settings: Settings) -> Outputs:
        """Run the stage on either side. Arrays in and out are in the official layout."""

    def call_isolated(self, side: Side, inputs: Arrays, tape: Tape, settings: Settings, expected: Outputs) -> Outputs:
        """Run it so that no error of one part reaches the next; by default there is one part only.

        Asked only of stages whose modules cannot be isolated one by one. `expected` is what the reference put out in
        the working dtype; of the reference it is asked in float64, with networks of any dtype, which it must not use.
        """
        return self.call(side, inputs, tape, settings)

    def for_isolation(self, inputs: Arrays, expected: Outputs) -> tuple[Arrays, Outputs]:
        """How much of the stage a run repeats whose modules are fed, and what the reference put out for that.

        By default the whole.
        """
        return inputs, expected

    def entered(self, path: str, call: int) -> bool:
        """Whether such a run runs a module at its `call`-th call (from 0). Else the reference answers for it."""
        return True

    def known(self, isolated: Outputs) -> dict[str, Any]:
        """Inputs that spare the free run what an isolated one has found out already, whatever the modules do."""
        return {}

    def publish(self, outputs: Outputs, inputs: Arrays) -> dict[str, np.ndarray]:
        """What the stage gives: by default outputs of the reference in the working dtype."""
        made = outputs.tensors | outputs.tokens
        return {name: made[name] for name in self.gives}

    def owner(self, output: str) -> tuple[str, str]:
        """The module that makes an output, and what is wrong with that where the output is, all else being right."""
        root = self.component or self.name
        return self.owners.get(output, root if self.component else f"{root}.{output}"), "glue"

    def suspect(self, output: str) -> str:
        """Whom to blame where an output is only wrong when errors add up: the module that makes it."""
        return self.owners.get(output, self.component or self.name)

    def pieces(self, pair: Pair) -> tuple[Piece, ...]:
        """Those in which the model's side computes the utterance; none where it does so at once, as the reference."""
        return ()

    def keep(self, path: str, call: int) -> bool:
        """Whether a module's output at its `call`-th call (from 0) is compared. The default: the first."""
        return call == 0

    def near_ties(self, name: str, sides: Sides, inputs: Arrays, dtype: str, factor: float) -> np.ndarray:
        """Which tokens of the output `name`, of one shape on all sides, may differ because rounding decides them.

        By default those whose margin in float64 is within the noise: what working in `dtype` does to the margins.
        """
        margin, working = sides.exact.margins.get(name), sides.expected.margins.get(name)
        if margin is None or working is None:
            return np.zeros(sides.expected.tokens[name].shape, bool)
        noise = max(float(np.abs(margin - working).max(initial=0)), EPSILON[dtype])
        return margin <= factor * noise

    def carried(self, name: str, sides: Sides) -> float:
        """The noise floor of the output `name` where errors add up, once what it was made of has passed.

        Asked for where the reference's own errors in `name` do not explain MLX's; 0 where nothing else does either.
        """
        return 0.0

    def witnesses(self, file: Path | None, inputs: Arrays) -> Outputs | None:
        """What a third party says of the same inputs (ONNX Runtime on the component's official file), or None."""
        return None
