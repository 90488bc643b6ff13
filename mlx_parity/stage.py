"""What a stage of a pipeline is to the harness, and what goes into it and comes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from mlx_parity.compare import EPSILON
from mlx_parity.sides import Side
from mlx_parity.sides.recorded import Recorded
from mlx_parity.tape import Tape

if TYPE_CHECKING:
    from mlx_parity.findings import StageReport
    from mlx_parity.localization.isolate import CallsByKey, Feed

#: Arrays by name, in the reference's layout. What stages hand on; always made by the reference.
Arrays = Mapping[str, np.ndarray]


class Given(Mapping[str, Any]):
    """What a stage is called with: arrays (and texts) by name, the settings of the run, and its random numbers."""

    def __init__(self, arrays: Mapping[str, Any], settings: Any = None, seed: int = 0) -> None:
        self._arrays, self.settings, self.seed = dict(arrays), settings, seed

    @cached_property
    def tape(self) -> Tape:
        """From which both sides draw the same."""
        return Tape(self.seed)

    def adding(self, arrays: Mapping[str, Any]) -> Given:
        """The same with more arrays, or others in place of some."""
        return Given({**self._arrays, **arrays}, self.settings, self.seed)

    def without(self, name: str) -> Given:
        """The same without one array."""
        return Given({key: array for key, array in self._arrays.items() if key != name}, self.settings, self.seed)

    def __getitem__(self, name: str) -> Any:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


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
    """What a stage put out: the port, the reference in the working dtype, and the reference in float64."""

    actual: Outputs
    expected: Outputs
    exact: Outputs


@dataclass(frozen=True)
class Observed:
    """What the comparison of one stage saw; arrays in the reference's layout.

    The layers map a module's path (path#call from the second call on) to its output. `given` was made by the reference
    in the working dtype.
    """

    pair: Any
    stage: Stage
    given: Given
    factor: float
    outputs: Sides
    actual_layers: Mapping[str, np.ndarray]
    expected_layers: Mapping[str, np.ndarray]

    @property
    def dtype(self) -> str:
        return self.stage.dtype(self.pair)

    def sides(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The output `name` of the port and of the reference.

        Raises:
            ValueError: the port has none.
        """
        if name not in self.outputs.actual.tensors:
            raise ValueError(f"{name}: not observed on MLX")
        return self.outputs.actual.tensors[name], self.outputs.expected.tensors[name]


class Pieces(Protocol):
    """How a port that computes in pieces what the reference computes at once cuts what the reference did."""

    def calls(self, whole: Feed) -> CallsByKey:
        """Calls over everything, as the port's are."""

    def arrays(self, whole: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """What modules returned over everything, as the port's do."""


class Stage(ABC):
    """One stage. Its `call` is written once, against a `Side`.

    A `pair` is whatever holds both models; it is handed on, and looked into by the stage alone.
    """

    name: str
    title: str
    #: The prefix of all paths of its modules; "" where it runs none.
    component: str = ""
    #: Names of the arrays that the stage reads, and of those that it adds.
    needs: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    #: Output -> the module that makes it, where that is not the component itself.
    owners: ClassVar[Mapping[str, str]] = {}
    #: What a third party's outputs are called in reports.
    witness: ClassVar[str] = "witness"

    #: Dataclasses and named tuples in its settings and in the `details` of its outputs.
    details: ClassVar[tuple[type, ...]] = ()
    #: Whether modules of one name may do different things, which the modules around them make up for.
    loose: ClassVar[bool] = False

    @property
    def prefix(self) -> str:
        """What the paths of its modules begin with."""
        return f"{self.component}." if self.component else ""

    @property
    def root(self) -> str:
        """What runs its outermost modules."""
        return self.component or self.name

    @abstractmethod
    def dtype(self, pair: Any) -> str:
        """What the stage works in, a key of `EPSILON`."""

    @abstractmethod
    def reference(self, pair: Any, dtype: str) -> Side:
        """The reference's side, to run in `dtype`."""

    @abstractmethod
    def model(self, pair: Any) -> Side:
        """The port's side."""

    def prepare(self, side: Side, given: Given) -> dict[str, Any]:
        """Inputs of this stage that only the reference can make, in the working dtype."""
        return {}

    @abstractmethod
    def call(self, side: Side, given: Given) -> Outputs:
        """Run the stage on either side. Arrays in and out are in the reference's layout."""

    def call_isolated(self, side: Side, given: Given, expected: Outputs) -> Outputs:
        """Run it so that no error of one part reaches the next; by default there is one part only.

        Asked only of stages whose modules cannot be isolated one by one. `expected` is what the reference put out in
        the working dtype; of the reference it is asked in float64, with networks of any dtype, which it must not use.
        """
        return self.call(side, given)

    def for_isolation(self, given: Given, expected: Outputs) -> tuple[Given, Outputs]:
        """How much of the stage a run repeats whose modules are fed, and what the reference put out for that.

        By default the whole.
        """
        return given, expected

    def entered(self, path: str, call: int) -> bool:
        """Whether such a run runs a module at its `call`-th call (from 0). Else the reference answers for it."""
        return True

    def known(self, isolated: Outputs) -> dict[str, Any]:
        """Inputs that spare the free run what an isolated one has found out already, whatever the modules do."""
        return {}

    def publish(self, outputs: Outputs, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """What the stage gives: by default outputs of the reference in the working dtype."""
        made = outputs.tensors | outputs.tokens
        return {name: made[name] for name in self.gives}

    def owner(self, output: str) -> tuple[str, str]:
        """The module that makes an output, and what is wrong with that where the output is, all else being right."""
        root = self.root
        return self.owners.get(output, root if self.component else f"{root}.{output}"), "glue"

    def suspect(self, output: str) -> str:
        """Whom to blame where an output is only wrong when errors add up: the module that makes it."""
        return self.owners.get(output, self.root)

    def pieces(self, pair: Any) -> Pieces | None:
        """Those in which the port computes; None where it does so at once, as the reference."""
        return None

    def call_before(self, path: str, index: int) -> int:
        """The number of the call from whose state a module's `index`-th call goes on."""
        return index - 1

    def keep(self, path: str, call: int) -> bool:
        """Whether a module's output at its `call`-th call (from 0) is compared. The default: the first."""
        return call == 0

    def near_ties(self, name: str, sides: Sides, given: Given, dtype: str, factor: float) -> np.ndarray:
        """Which tokens of the output `name`, of one shape on all sides, may differ because rounding decides them.

        By default those whose margin in float64 is within the noise: what working in `dtype` does to the margins.
        """
        margin, working = sides.exact.margins.get(name), sides.expected.margins.get(name)
        if margin is None or working is None:
            return np.zeros(sides.expected.tokens[name].shape, bool)
        noise = max(float(np.abs(margin - working).max(initial=0)), EPSILON[dtype])
        return margin <= factor * noise

    def laid_out(self, actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """An output of the port with its axes where the reference has them."""
        return actual

    def carried(self, name: str, sides: Sides) -> float:
        """The noise floor of the output `name` where errors add up, once what it was made of has passed.

        Asked for where the reference's own errors in `name` do not explain the port's; 0 where nothing else does.
        """
        return 0.0

    def witnesses(self, pair: Any, given: Given) -> Outputs | None:
        """What a third party says of the same inputs, or None."""
        return None

    def apart_from(self, modules: Collection[str], why: str) -> Stage:
        """The same without comparing these modules, by their paths in reports. Asked only of a `loose` stage.

        They are `unpaired` then, for the reason given.
        """
        raise NotImplementedError

    def let_go(self) -> None:  # noqa: B027
        """Free what can be made again: every stage that was chosen has been compared up to this one."""

    def recorded(self) -> dict[str, Recorded]:
        """The reference's modules as they are to be paired; none where they are by their names."""
        return {}

    def recalled(self, modules: dict[str, Recorded]) -> Stage:
        """The same for a reference of which these are known alone."""
        return self

    def unpaired(self) -> list[str]:
        """Modules of either side that have no twin, in words."""
        return []

    def remarks(self, report: StageReport) -> list[str]:
        """What the stage makes of its report, once that is whole; for people."""
        return []

    def measures(self, observed: Observed) -> dict[str, Any]:
        """What else there is to say of the outputs, as plain data by name."""
        return {}
