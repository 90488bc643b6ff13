"""The free run of a stage: every side goes its own way from the stage's inputs, and errors add up as they do in use."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from parity.capture import first_float, tap
from parity.compare import Layer, Verdict, judge, typical_floor
from parity.findings import StageReport
from parity.localization.captured import Captured
from parity.localization.recordings import CallsByKey, Recording
from parity.measures.of_stages import Observed, measure
from parity.pair import Pair
from parity.stages import Outputs, Sides, Stage

#: What an output's name says of the hop that it is of.
_HOP = re.compile(r"^hop\d+\.")


def run_freely(
    pair: Pair, captured: Captured, report: StageReport, factor: float, known: Mapping[str, Any]
) -> Exception | None:
    """Run the stage of the MLX model, and enter into `report` what every module and the stage itself put out.

    `known` is what `Stage.known` says. Returned is what MLX raised.
    """
    stage, inputs = captured.stage, captured.inputs
    actual, actual_layers, raised = _run(pair, captured, report, known)
    expected_layers = recorded(captured.calls)
    exact_layers, exempt = captured.layers, exempt_modules(pair, stage)
    calls = _calls_of_modules(expected_layers)
    for path in _union(exact_layers, expected_layers, actual_layers):
        module_path = path.split("#")[0]
        if module_path in exempt and path not in actual_layers:
            report.exempt[module_path] = exempt[module_path]
            continue
        arrays = (layers.get(path) for layers in (actual_layers, expected_layers, exact_layers))
        typical = partial(_floor_of, expected_layers, exact_layers, calls.get(module_path, ()))
        kind = captured.types.get(module_path, "")
        report.layers.append(judge(path, kind, *arrays, dtype=report.dtype, factor=factor, typical=typical))
    sides = Sides(actual, captured.outputs, captured.exact_outputs)
    report.outputs = judge_outputs(
        stage, sides, inputs, report.dtype, factor, captured.outputs, "output", stage.carried
    )
    witness = stage.witnesses(pair.reference.file(stage.component), inputs)
    if witness:
        # ONNX Runtime on the official file against the reference: says that the file was read rightly
        third = replace(sides, actual=witness)
        layers = judge_outputs(stage, third, inputs, "float32", factor, witness, "witness")
        report.outputs += [replace(layer, path=f"{WITNESS}{layer.path}") for layer in layers]
    if not report.unobserved:
        observed = Observed(
            *(pair, stage, captured.settings, inputs, factor),
            *(actual, captured.outputs, captured.exact_outputs, actual_layers, expected_layers),
        )
        report.measures = measure(observed)
        expected = captured.outputs.tensors
        # a model that streams in other hops makes what the reference does not
        report.arrays = {name: (mine, expected[name]) for name, mine in actual.tensors.items() if name in expected}
    return raised


def _run(
    pair: Pair, captured: Captured, report: StageReport, known: Mapping[str, Any]
) -> tuple[Outputs, Recording, Exception | None]:
    """What MLX puts out; nothing where it raises, which is noted and returned."""
    stage, side, layers = captured.stage, captured.stage.model(pair), Recording()
    raised: Exception | None = None
    started = time.perf_counter()
    try:
        with torch.inference_mode(), tap(side, layers.sink, f"{stage.component}.", stage.keep):
            outputs = stage.call(side, {**captured.inputs, **known}, captured.tape, captured.settings)
    except Exception as error:  # whatever a wrong port may raise is its fault, not the harness's
        report.unobserved.append(f"{stage.title}: MLX raised {type(error).__name__}: {error}")
        outputs, raised = Outputs(), error
    report.seconds_reference, report.seconds_model = captured.seconds, time.perf_counter() - started
    return outputs, layers, raised


#: What the names of outputs begin with that a third party was asked for.
WITNESS = "onnxruntime."


def recorded(calls: CallsByKey) -> Recording:
    """What taps would have reported of these calls."""
    recording = Recording()
    for (path, index), call in calls.items():
        output = first_float(call.output)
        if output is not None:
            recording.sink(path, index, output)
    return recording


def _calls_of_modules(recording: Recording) -> dict[str, list[str]]:
    """Module -> the names of its calls."""
    calls: dict[str, list[str]] = {}
    for path in recording:
        calls.setdefault(path.split("#")[0], []).append(path)
    return calls


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


def judge_outputs(
    stage: Stage,
    sides: Sides,
    inputs: Mapping[str, Any],
    dtype: str,
    factor: float,
    named: Outputs,
    kind: str,
    carried: Callable[[str, Sides], float] = lambda name, sides: 0.0,
) -> list[Layer]:
    """The outputs that `named` has, as layers of this kind; `carried` as of a stage, where errors add up."""
    layers = [
        judge(
            name,
            kind,
            *(one.tensors.get(name) for one in (sides.actual, sides.expected, sides.exact)),
            dtype=dtype,
            factor=factor,
            typical=partial(_other_floor, name, sides, carried),
        )
        for name in named.tensors
    ]
    return layers + [judge_tokens(stage, name, sides, inputs, dtype, factor) for name in named.tokens]


def _floor_of(expected: Mapping[str, np.ndarray], exact: Mapping[str, np.ndarray], names: Sequence[str]) -> float:
    """The `typical_floor` of what goes by these names; 0 of one alone, whose own floor it would be."""
    return typical_floor((expected[name], exact.get(name)) for name in names) if len(names) > 1 else 0.0


def _other_floor(name: str, sides: Sides, carried: Callable[[str, Sides], float]) -> float:
    """The `typical_floor` of an output over all hops, or what is carried on to it."""
    return max(typical_output_floor(name, sides.expected, sides.exact), carried(name, sides))


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
