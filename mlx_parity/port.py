"""One model and its port, as a stage: what `check` and a `Pipeline` of ports are made of."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from mlx_parity.audit.weights import audit_weights
from mlx_parity.captures import capture, captured_in
from mlx_parity.compare import FACTOR, Verdict
from mlx_parity.examination import examine_all, made_up_for
from mlx_parity.findings import RunReport, StageReport, culprits_of
from mlx_parity.localization.captured import Captured, captures
from mlx_parity.pairing.layout import aligned
from mlx_parity.pairing.modules import Pairing, Rename, pair_modules
from mlx_parity.sides import Side, side_of
from mlx_parity.sides.recorded import Network, Recorded, RecordedNetwork, recorded
from mlx_parity.stage import Given, Outputs, Stage

#: Runs a model: (side, what it is given) -> an array, or several in a tuple or a mapping, or `Outputs`.
Call = Callable[[Side, Given], Any]

#: What the names of outputs begin with that were made in one pass, without a cache.
WHOLE = "whole."

#: The name under which `check` hands the inputs on.
INPUTS = "inputs"


class Port(Stage):
    """A reference model, a port of it, and how both are called."""

    loose = True

    def __init__(
        self,
        name: str,
        reference: Any,
        port: Any,
        call: Call | None = None,
        *,
        needs: Sequence[str] = (INPUTS,),
        gives: Sequence[str] = (),
        rename: Rename | None = None,
        dtype: str | None = None,
        whole: Call | None = None,
    ) -> None:
        """
        Args:
            name: of the stage, and of its outermost module in reports.
            reference: a `torch.nn.Module` or an `mlx.nn.Module`, or a function without arguments that makes one.
            port: a module of either kind, or such a function. What is made is made when it is needed, and let go when
                its stage has been compared: with a capture the reference never is.
            call: written once for both sides: `call(side, given)` runs `side.module` on arrays of `given`, which
                `side.array` makes. None: the module is called with what stands under `needs`.
            needs: names of the arrays that it reads.
            gives: names of those of its outputs that later stages read.
            rename: see `pair_modules`.
            dtype: what the port works in; None: what most of its weights are.
            whole: where `call` goes step by step with a cache, the same in one pass and with the same names: whether
                that agrees tells a mistake of the cache from one of the model.
        """
        self.name = self.title = name
        self.needs, self.gives = tuple(needs), tuple(gives)
        self._models, self._call, self._rename, self._dtype = (reference, port), call, rename, dtype
        self._layouts: dict[Any, Any] = {}
        self._whole = whole
        self._apart: dict[str, str] = {}
        self._recorded: dict[str, Recorded] = {}

    def dtype(self, pair: Any) -> str:
        return self._dtype or side_of(self._port).dtype

    def reference(self, pair: Any, dtype: str) -> Side:
        side = side_of(self._reference).converted(dtype)
        if self._unpacked:
            side = side.holding_weights(self._unpacked)
        return side.paired({path: path for path in self.pairing.modules})

    def model(self, pair: Any) -> Side:
        twins = {path: twin for path, twin in self.pairing.modules.items() if path not in self._apart}
        return side_of(self._port, self.dtype(pair)).paired(twins, self._layouts)

    @cached_property
    def _reference(self) -> Any:
        return _made(self._models[0])

    @cached_property
    def _port(self) -> Any:
        return _made(self._models[1])

    def let_go(self) -> None:
        if any(map(inspect.isroutine, self._models)):
            self._forget("_reference", "_port", "_unpacked", "_network", "pairing")

    def _forget(self, *names: str) -> None:
        """What is kept under these names is found out again when it is asked for."""
        for name in names:
            self.__dict__.pop(name, None)

    @cached_property
    def _unpacked(self) -> dict[str, np.ndarray]:
        """The weights of modules that the port has packed: the reference computes with them, as packing is meant.

        What is packed wrongly is found where weights are audited.
        """
        port = side_of(self._port)
        modules = port.modules()
        twins = {path: modules[twin] for path, twin in self.pairing.modules.items()}
        return {path: port.parameters(one)["weight"] for path, one in twins.items() if port.is_packed(one)}

    @cached_property
    def _network(self) -> Network:
        """The reference's modules: live, or as a capture has them."""
        return RecordedNetwork(self._recorded) if self._recorded else side_of(self._reference)

    @cached_property
    def pairing(self) -> Pairing:
        """Which module is whose twin."""
        return pair_modules(self._network, side_of(self._port), self._rename)

    def recorded(self) -> dict[str, Recorded]:
        return recorded(self._network)

    def recalled(self, modules: dict[str, Recorded]) -> Port:
        other = copy.copy(self)
        other._forget("_network", "pairing")
        other._recorded = modules
        return other

    def apart_from(self, modules: Collection[str], why: str) -> Port:
        other = copy.copy(self)
        other._apart = {**self._apart, **dict.fromkeys(modules, why)}
        return other

    def unpaired(self) -> list[str]:
        found = self.pairing
        return [
            *(f"{path}: of the reference alone" for path in found.only_reference),
            *(f"{path}: of the port alone" for path in found.only_port),
            *(f"{path}: {why}" for path, why in self._apart.items()),
        ]

    def call(self, side: Side, given: Given) -> Outputs:
        outputs = outputs_of(side, self._call(side, given) if self._call else _called(side, given, self.needs))
        if self._whole:
            whole = outputs_of(side, self._whole(side, given))
            outputs.tensors |= {f"{WHOLE}{name}": array for name, array in whole.tensors.items()}
            outputs.tokens |= {f"{WHOLE}{name}": array for name, array in whole.tokens.items()}
        return outputs

    def call_isolated(self, side: Side, given: Given, expected: Outputs) -> Outputs:
        # where no module has a twin: one part, whose weights are of float64 as well
        return self.call(self.reference(None, side.dtype) if side.exact else side, given)

    def keep(self, path: str, call: int) -> bool:
        return True

    def owner(self, output: str) -> tuple[str, str]:
        return self.root, "glue"

    def remarks(self, report: StageReport) -> list[str]:
        """Whether it is the cache that is wrong."""
        wrong = {row.path for row in report.outputs if row.verdict is not Verdict.PASS}
        if not self._whole or not wrong or any(path.startswith(WHOLE) for path in wrong):
            return []
        return ["in one pass, without a cache, all outputs are right: what is wrong is in the cache, or in positions"]

    def laid_out(self, actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
        return aligned(actual, expected)

    @property
    def keeps_weights(self) -> bool:
        """Whether the port has any that could be audited: a session of another runtime, or a function, has none."""
        side = side_of(self._port)
        return any(side.parameters(module) for module in (side.module, *side.modules().values()))

    def audit(self) -> tuple[StageReport, dict[str, float]]:
        """The weights of all paired modules, and how far off those are that others may make up for, by module."""
        report = StageReport(f"audit.{self.name}", f"Weights: {self.title}", self.dtype(None))
        audit = audit_weights(self._network, side_of(self._port), self.pairing, report.dtype)
        report.layers, report.unpaired = audit.layers, audit.elsewhere
        report.culprits = culprits_of(report.layers, self.name)
        doubtful: dict[str, float] = {}
        for layer in report.layers:
            if layer.verdict is Verdict.DIVERGED:
                module = layer.path.rpartition(".")[0]
                doubtful[module] = min(doubtful.get(module, math.inf), audit.throughout.get(layer.path, 0.0))
        return report, {module: deviation for module, deviation in doubtful.items() if deviation}


def _made(model: Any) -> Any:
    """A model, or what a function without arguments makes."""
    return model() if inspect.isroutine(model) else model


def _called(side: Side, given: Given, needs: Sequence[str]) -> Any:
    """The module's output for inputs as they are: an array, several by place, or several by name."""
    values = [given[name] for name in needs]
    if len(values) == 1 and isinstance(values[0], Mapping):
        return side.module(**{name: _array(side, value) for name, value in values[0].items()})
    if len(values) == 1 and isinstance(values[0], tuple):
        values = list(values[0])
    return side.module(*(_array(side, value) for value in values))


def _array(side: Side, value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    return side.array(value) if np.issubdtype(value.dtype, np.floating) else side.plain(value)


def outputs_of(side: Side, made: Any, name: str = "output") -> Outputs:
    """What a model returned, array by array: floats are compared as tensors, integers as tokens."""
    outputs = Outputs()
    if isinstance(made, Outputs):
        return made
    if side.is_array(made):
        array = side.numpy(made) if isinstance(made, side.array_type) else made
        (outputs.tensors if np.issubdtype(array.dtype, np.floating) else outputs.tokens)[name] = array
    elif isinstance(made, (Mapping, tuple, list)):
        items = made.items() if isinstance(made, Mapping) else ((f"{name}{at}", one) for at, one in enumerate(made))
        for key, one in items:
            part = outputs_of(side, one, str(key))
            outputs.tensors |= part.tensors
            outputs.tokens |= part.tokens
    return outputs


class Pipeline:
    """Stages in data-flow order: each reads what was given or what stages before it give."""

    def __init__(self, stages: Sequence[Port]) -> None:
        self.stages = list(stages)

    def run(
        self,
        inputs: Mapping[str, Any],
        *,
        stages: Collection[str] | None = None,
        settings: Any = None,
        seed: int = 0,
        factor: float = FACTOR,
        progress: Callable[[str], None] = lambda message: None,
    ) -> RunReport:
        """Compare every stage, and name the modules that compute something else.

        Args:
            inputs: arrays by name.
            stages: names of those to compare, None for all. What they need of others the reference alone makes.
            settings: handed to the stages as `given.settings`.
            seed: of `given.tape`, from which both sides draw.
            factor: allowed error in noise floors.
            progress: called with what is going on.
        """
        chosen = [stage for stage in self.stages if stages is None or stage.name in stages]
        captured = captures(None, dict(inputs), self.stages, chosen, settings, seed, progress)
        return self._compared(captured, settings, factor, progress)

    def capture(self, folder: Path, inputs: Mapping[str, Any], **options: Any) -> Path:
        """Write what the reference does into a folder; options as for `run`, see `mlx_parity.captures.capture`."""
        return capture(folder, self.stages, inputs, **options)

    def compare(
        self, folder: Path, *, factor: float = FACTOR, progress: Callable[[str], None] = lambda message: None
    ) -> RunReport:
        """The same as `run`, from what was captured: the reference is not made.

        Raises:
            CaptureError: there is no capture, or it is damaged.
        """
        return self._compared(captured_in(folder, self.stages), None, factor, progress)

    @staticmethod
    def _compared(
        captured: Iterable[Captured], settings: Any, factor: float, progress: Callable[[str], None]
    ) -> RunReport:
        audits: list[StageReport] = []
        reports: list[StageReport] = []
        for one in captured:
            port = one.stage
            assert isinstance(port, Port)
            audit, doubtful = port.audit()
            if doubtful:
                right, twins = made_up_for(None, one, doubtful, factor)
                _acquit(audit, right)
                one = one if audit.culprits else twins
            audits += [audit] if port.keeps_weights else []
            reports += examine_all(None, [one], partial(_accused, audit), factor, progress)
            del one
        return RunReport(reports, settings, audits, apart=True)


def _acquit(audit: StageReport, modules: set[str]) -> None:
    """Let weights pass that are others on purpose, as where a factor or the 1 of a norm has been put into them.

    Where such a factor is wrong as well, the module around them is.
    """
    audit.culprits = [culprit for culprit in audit.culprits if culprit.module not in modules]
    audit.layers = [
        replace(layer, verdict=Verdict.PASS, reason=f"{layer.reason}: judged by what the port makes of it")
        if layer.verdict is Verdict.DIVERGED and layer.path.rpartition(".")[0] in modules
        else layer
        for layer in audit.layers
    ]


def _accused(audit: StageReport, _: Stage) -> set[str]:
    return {culprit.module for culprit in audit.culprits}


def check(
    reference: Any,
    port: Any,
    inputs: Any,
    *,
    call: Call | None = None,
    whole: Call | None = None,
    rename: Rename | None = None,
    name: str = "model",
    seed: int = 0,
    factor: float = FACTOR,
) -> RunReport:
    """Hold a port against the model that it was made from, on the same inputs.

    Args:
        reference: a `torch.nn.Module` (or an `mlx.nn.Module`); it should be in evaluation mode and in float32.
        port: the module to judge, of either framework, in any precision.
        inputs: what both are called with: a NumPy array, a tuple of arrays, or a mapping of arguments by name. With
            `call`, a mapping of arrays by name for it.
        call: where the two are not called alike: `call(side, given)`, written once for both; see `Port`.
        whole: the same in one pass, where `call` decodes step by step with a cache; see `Port`.
        rename: where modules have other names; see `pair_modules`.
        name: of the outermost module in the report.
        seed: of `given.tape`.
        factor: allowed error in noise floors.

    Returns:
        the report: `report.verdict`, `report.culprits`, and every layer of both runs.
    """
    pipeline, given = of_one_port(name, reference, port, inputs, call, rename, whole)
    return pipeline.run(given, seed=seed, factor=factor)


def of_one_port(
    name: str, reference: Any, port: Any, inputs: Any, call: Call | None, rename: Rename | None, whole: Call | None
) -> tuple[Pipeline, dict[str, Any]]:
    """A pipeline of one stage, and what it is given; arguments as for `check`."""
    needs = tuple(inputs) if call else (INPUTS,)
    stage = Port(name, reference, port, call, needs=needs, rename=rename, whole=whole)
    return Pipeline([stage]), dict(inputs) if call else {INPUTS: inputs}
