"""Runs the stages on both sides and compares every layer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from parity.capture import tap
from parity.compare import FACTOR, Layer, Verdict, judge, typical_floor, worst
from parity.measures.of_stages import Observed, measure
from parity.pair import DTYPES, Pair
from parity.pieces import Piece, in_pieces
from parity.quantization.packing import QuantizationDrift, quantization_drift
from parity.quantization.weights import is_quantized, judge_weights
from parity.sides import Side
from parity.stages import STAGES, Outputs, Settings, Sides, Stage, choose_stages, stages_of
from parity.tape import Tape

#: What an output's name says of the hop that it is of.
_HOP = re.compile(r"^hop\d+\.")


@dataclass
class StageReport:
    """One stage: its outputs as layers, every module in between, and its speech-aware measures."""

    name: str
    title: str
    dtype: str
    verdict: Verdict
    outputs: list[Layer] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    exempt: dict[str, str] = field(default_factory=dict)
    seconds_reference: float = 0.0
    seconds_model: float = 0.0
    arrays: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    measures: dict[str, Any] = field(default_factory=dict)

    @property
    def worst_layer(self) -> Layer | None:
        """The layer that fails first in data-flow order, else the one with the largest error over floor."""
        layers = self.layers + self.outputs
        failed = [layer for layer in layers if layer.verdict is not Verdict.PASS]
        return failed[0] if failed else max(layers, key=lambda layer: layer.ratio, default=None)


@dataclass
class RunReport:
    """A whole run."""

    stages: list[StageReport]
    settings: Settings
    #: What packing itself changed, of a quantized model.
    quantization: list[QuantizationDrift] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        return worst([stage.verdict for stage in self.stages])


class Recording(dict[str, np.ndarray]):
    """What taps reported, under path or path#call, in the order in which the modules returned."""

    def sink(self, path: str, call: int, output: np.ndarray) -> None:
        self[path if call == 0 else f"{path}#{call}"] = output


def run(
    pair: Pair,
    inputs: dict[str, Any],
    *,
    stages: Sequence[str] | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    factor: float = FACTOR,
    progress: Callable[[str], None] = lambda message: None,
) -> RunReport:
    """Compare the chosen stages, in data-flow order; each on the reference's own inputs.

    Args:
        pair: both models.
        inputs: `wave16`, `wave24` (float32 samples), `text`, `transcript`, and what stages would give whose component
            the family has not.
        stages: names; None for all. Earlier stages are run on the reference alone where a chosen one needs them.
        settings: streaming and lengths.
        seed: of the tape from which both sides draw.
        factor: allowed error in noise floors.
        progress: called with what is going on.

    Raises:
        ValueError: a stage that does not exist, or does not in this mode.
    """
    settings = settings or Settings()
    there = stages_of(pair.reference.family.networks)
    chosen = choose_stages(stages, settings, there)
    arrays = dict(inputs)
    reports = []
    with torch.inference_mode():
        for stage in there:
            if stage in chosen:
                progress(stage.title)
                reports.append(compare_stage(stage, pair, arrays, Tape(seed), settings, factor))
            elif any(needed_by(other, stage) for other in chosen):
                progress(f"{stage.title} (reference only)")
                advance(stage, pair, arrays, Tape(seed), settings)
    compared = {report.name for report in reports}
    packing = quantization_drift(pair, arrays, compared, settings, seed, progress)
    return RunReport(reports, settings, packing)


def needed_by(later: Stage, earlier: Stage) -> bool:
    """Whether `later` needs, through any stages between them, something that `earlier` gives."""
    wanted = set(later.needs)
    for stage in reversed(STAGES[: STAGES.index(later)]):
        if wanted & set(stage.gives):
            if stage is earlier:
                return True
            wanted |= set(stage.needs)
    return False


def advance(
    stage: Stage,
    pair: Pair,
    arrays: dict[str, Any],
    tape: Tape,
    settings: Settings,
    recording: Recording | None = None,
) -> tuple[Outputs, float]:
    """Run the reference alone in the working dtype, so that later stages find in `arrays` what they need.

    Returns its outputs and the seconds it took; `recording` gets the outputs of its modules.
    """
    side = stage.reference(pair, DTYPES[pair.dtype(stage.component)])
    arrays.update(stage.prepare(side, arrays, tape, settings))
    outputs, seconds = _timed(stage, side, arrays, tape, settings, recording)
    arrays.update(stage.publish(outputs, arrays))
    return outputs, seconds


def _timed(
    stage: Stage, side: Side, inputs: Mapping[str, Any], tape: Tape, settings: Settings, recording: Recording | None
) -> tuple[Outputs, float]:
    """A side's outputs, and the seconds it took; `recording` gets the outputs of its modules."""
    started = time.perf_counter()
    with nullcontext() if recording is None else tap(side, recording.sink, f"{stage.component}.", stage.keep):
        outputs = stage.call(side, inputs, tape, settings)
    return outputs, time.perf_counter() - started


def compare_stage(
    stage: Stage, pair: Pair, arrays: dict[str, Any], tape: Tape, settings: Settings, factor: float
) -> StageReport:
    dtype, inputs = pair.dtype(stage.component), dict(arrays)
    expected_layers, exact_layers, actual_layers = Recording(), Recording(), Recording()
    expected, seconds_reference = advance(stage, pair, arrays, tape, settings, expected_layers)
    inputs |= {key: value for key, value in arrays.items() if key not in inputs and key not in stage.gives}
    double = stage.reference(pair, torch.float64)
    exact, _ = _timed(stage, double, inputs, tape, settings, exact_layers)
    types = {f"{stage.component}.{path}": type(module).__name__ for path, module in double.modules().items()}
    exempt = exempt_modules(pair, stage)
    del double
    actual, seconds_model = _timed(stage, stage.model(pair), inputs, tape, settings, actual_layers)
    pieces = stage.pieces(pair)
    if pieces:
        expected_layers, exact_layers = (_in_pieces(whole, pieces) for whole in (expected_layers, exact_layers))

    report = StageReport(stage.name, stage.title, dtype, Verdict.PASS)
    report.seconds_reference, report.seconds_model = seconds_reference, seconds_model
    report.measures = measure(
        Observed(pair, stage, settings, inputs, factor, actual, expected, exact, actual_layers, expected_layers)
    )
    floors = _floors_of_calls(expected_layers, exact_layers)
    for path in _union(exact_layers, expected_layers, actual_layers):
        module_path = path.split("#")[0]
        if module_path in exempt and path not in actual_layers:
            report.exempt[module_path] = exempt[module_path]
            continue
        recorded = (layers.pop(path, None) for layers in (actual_layers, expected_layers, exact_layers))
        kind = types.get(module_path, "")
        typical = partial(floors.__getitem__, module_path)
        report.layers.append(judge(path, kind, *recorded, dtype=dtype, factor=factor, typical=typical))
    sides = Sides(actual, expected, exact)
    report.outputs = _judge_outputs(stage, sides, inputs, dtype, factor, expected, "output")
    witness = stage.witnesses(pair.reference.file(stage.component), inputs)
    if witness:
        # ONNX Runtime on the official file against the reference: says that the file was read rightly
        third = replace(sides, actual=witness)
        layers = _judge_outputs(stage, third, inputs, "float32", factor, witness, "witness")
        report.outputs += [replace(layer, path=f"onnxruntime.{layer.path}") for layer in layers]
    if is_quantized(pair, stage.component):
        report.outputs.append(judge_weights(pair, stage.component))
    report.arrays = {name: (actual.tensors[name], expected.tensors[name]) for name in actual.tensors}
    report.verdict = worst([layer.verdict for layer in report.layers + report.outputs])
    return report


def _floors_of_calls(expected: Recording, exact: Recording) -> dict[str, float]:
    """The `typical_floor` of every module that was called more than once; else 0."""
    calls: dict[str, list[str]] = {}
    for path in expected:
        calls.setdefault(path.split("#")[0], []).append(path)
    return {module: _floor_of(expected, exact, paths) for module, paths in calls.items()}


def _in_pieces(recording: Recording, pieces: Sequence[Piece]) -> Recording:
    """What was recorded of one run over everything, as it is recorded of a run over pieces."""
    whole = {}
    for key, array in recording.items():
        path, _, call = key.partition("#")
        whole[path, int(call or 0)] = array
    cut = Recording()
    for (path, index), array in in_pieces(whole, pieces, lambda array, _, piece: piece.cut(array)).items():
        cut.sink(path, index, array)
    return cut


def _union(*recordings: Iterable[str]) -> list[str]:
    """All paths, in the order of the first recording, then what only others saw."""
    return list(dict.fromkeys(path for recording in recordings for path in recording))


def exempt_modules(pair: Pair, stage: Stage) -> dict[str, str]:
    """Official modules that the MLX network leaves out on purpose: those whose weights it declares unused."""
    exempt = {}
    for path, module in getattr(stage.model(pair).module, "named_modules", tuple)():
        for name, why in getattr(module, "unused", dict)().items():
            owner, _, parameter = name.rpartition(".")
            if owner and parameter:
                exempt[".".join(filter(None, (stage.component, path, owner)))] = why
    return exempt


def _judge_outputs(
    stage: Stage, sides: Sides, inputs: Mapping[str, Any], dtype: str, factor: float, named: Outputs, kind: str
) -> list[Layer]:
    """The outputs that `named` has, as layers of this kind."""
    layers = [
        judge(
            name,
            kind,
            *(one.tensors.get(name) for one in (sides.actual, sides.expected, sides.exact)),
            dtype=dtype,
            factor=factor,
            typical=partial(typical_output_floor, name, sides.expected, sides.exact),
        )
        for name in named.tensors
    ]
    return layers + [judge_tokens(stage, name, sides, inputs, dtype, factor) for name in named.tokens]


def _floor_of(expected: Mapping[str, np.ndarray], exact: Mapping[str, np.ndarray], names: Sequence[str]) -> float:
    return typical_floor((expected[name], exact.get(name)) for name in names) if len(names) > 1 else 0.0


def typical_output_floor(name: str, expected: Outputs, exact: Outputs) -> float:
    """The `typical_floor` of an output over all hops."""
    alike = [other for other in expected.tensors if _HOP.sub("", other) == _HOP.sub("", name)]
    return _floor_of(expected.tensors, exact.tensors, alike)


def judge_tokens(stage: Stage, name: str, sides: Sides, inputs: Mapping[str, Any], dtype: str, factor: float) -> Layer:
    """Token ids must be equal, but where the stage finds that rounding decides."""
    actual, expected = sides.actual.tokens.get(name), sides.expected.tokens[name]
    if actual is None:
        return Layer(name, "tokens", Verdict.INCONCLUSIVE, reason="not observed on: MLX")
    if actual.shape != expected.shape:
        reason = f"{actual.size} tokens, the reference has {expected.size}"
        return Layer(name, "tokens", Verdict.DIVERGED, actual.shape, reason=reason)
    flips = actual != expected
    count = int(flips.sum())
    ties = int((flips & stage.near_ties(name, sides, inputs, dtype, factor)).sum()) if count else 0
    where = f", first at {int(np.flatnonzero(flips)[0])}" if count else ""
    reason = f"{flips.size} tokens equal" if not count else f"{count} of {flips.size} differ{where}, {ties} near ties"
    verdict = Verdict.PASS if count == ties else Verdict.DIVERGED
    return Layer(name, "tokens", verdict, actual.shape, error=count / max(flips.size, 1), floor=1.0, reason=reason)
