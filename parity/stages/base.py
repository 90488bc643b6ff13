"""What a stage of the pipeline is to the parity harness."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from parity.compare import EPSILON
from parity.tape import Tape

if TYPE_CHECKING:
    from parity.pair import Pair

#: Arrays by name, in the official layout. What stages hand on; always made by the reference.
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Settings:
    """What is asked of a run, beside the inputs."""

    streaming: bool = False
    llm_steps: int = 50
    n_timesteps: int = 10


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
    """One stage: how each side runs it on the same inputs."""

    name: ClassVar[str]
    title: ClassVar[str]
    #: Name of the component in `Pair.reference` and `Pair.model`, and prefix of its official paths; "" for none.
    component: ClassVar[str] = ""
    #: Names in `given` that the stage reads, and those that it adds.
    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ()
    #: Output -> the official module that makes it, where that is not the component itself.
    owners: ClassVar[Mapping[str, str]] = {}
    #: Whether the stage exists in streaming synthesis alone.
    streaming_only: ClassVar[bool] = False

    def reference_module(self, pair: Pair, dtype: torch.dtype) -> Any:
        """What `run_reference` is given."""
        return pair.reference.component(self.component, dtype) if self.component else None

    def model_module(self, pair: Pair) -> Any:
        """What `run_model` is given."""
        return getattr(pair.model, self.component) if self.component else None

    def prepare(self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype) -> dict[str, Any]:
        """Inputs of this stage that only the reference can make, in the working dtype; added to `given`."""
        return {}

    @abstractmethod
    def run_reference(self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype) -> Outputs:
        """Run the reference's module, of the given dtype."""

    @abstractmethod
    def run_model(self, module: Any, given: Arrays, tape: Tape, settings: Settings) -> Outputs:
        """Run the MLX module. Arrays in and out are in the official layout."""

    def run_isolated(self, module: Any, given: Arrays, tape: Tape, settings: Settings, expected: Outputs) -> Outputs:
        """Run the MLX module so that no error of one part reaches the next; by default there is one part only.

        Asked only of stages whose modules cannot be isolated one by one. `expected` is what the reference put out.
        """
        return self.run_model(module, given, tape, settings)

    def exact_isolated(self, pair: Pair, given: Arrays, tape: Tape, settings: Settings, expected: Outputs) -> Outputs:
        """What `run_isolated` would put out in float64; asked of the same stages."""
        return self.run_reference(self.reference_module(pair, torch.float64), given, tape, settings, torch.float64)

    def publish(self, outputs: Outputs, given: Arrays) -> dict[str, np.ndarray]:
        """What later stages are given: by default all outputs of the reference in the working dtype."""
        return {**outputs.tensors, **outputs.tokens}

    def keep(self, path: str, call: int) -> bool:
        """Whether a module's output at its `call`-th call (from 0) is compared. The default: the first."""
        return call == 0

    def near_ties(self, name: str, sides: Sides, given: Arrays, dtype: str, factor: float) -> np.ndarray:
        """Which tokens of the output `name`, of one shape on all sides, may differ because rounding decides them.

        By default those whose margin in float64 is within the noise: what working in `dtype` does to the margins.
        """
        margin, working = sides.exact.margins.get(name), sides.expected.margins.get(name)
        if margin is None or working is None:
            return np.zeros(sides.expected.tokens[name].shape, bool)
        noise = max(float(np.abs(margin - working).max(initial=0)), EPSILON[dtype])
        return margin <= factor * noise

    def witnesses(self, checkpoint: Any, given: Arrays) -> Outputs | None:
        """What a third party says of the same inputs (ONNX Runtime on the official file), or None."""
        return None


def tensor(array: np.ndarray, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A torch tensor; floats in `dtype`."""
    result = torch.from_numpy(np.ascontiguousarray(array))
    return result.to(dtype) if dtype is not None and result.is_floating_point() else result
