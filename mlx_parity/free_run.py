"""The free run of a stage: every side goes its own way from the stage's inputs, and errors add up as they do in use."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mlx_parity.compare import Layer, Verdict, judge, typical_floor
from mlx_parity.findings import StageReport
from mlx_parity.localization.captured import Captured
from mlx_parity.localization.recordings import CallsByKey, Recording
from mlx_parity.stage import Given, Observed, Outputs, Sides, Stage
from mlx_parity.taps import first_float, tap

Array = np.ndarray | None

#: What an output's name says of the hop that it is of.
_HOP = re.compile(r"^hop\d+\.")


def run_freely(
    pair: Any, captured: Captured, report: StageReport, factor: float, known: Mapping[str, Any]
) -> Exception | None:
    """Run the stage of the MLX model, and enter into `report` what every module and the stage itself put out.

    `known` is what `Stage.known` says. Returned is what MLX raised.
    """
    stage, given = captured.stage, captured.given
    actual, actual_layers, raised = _run(pair, captured, report, known)
    expected_layers = recorded(captured.calls)
    exact_layers, exempt = captured.layers, exempt_modules(pair, stage)
    calls = _calls_of_modules(expected_layers)
    # in the order of the first, then what only others saw
    for path in dict.fromkeys((*exact_layers, *expected_layers, *actual_layers)):
        module_path = path.split("#")[0]
        if module_path in exempt and path not in actual_layers:
            report.exempt[module_path] = exempt[module_path]
            continue
        arrays = _of_sides(stage, *(layers.get(path) for layers in (actual_layers, expected_layers, exact_layers)))
        typical = partial(_floor_of, expected_layers, exact_layers, calls.get(module_path, ()), arrays[2])
        kind = captured.types.get(module_path, "")
        report.layers.append(judge(path, kind, *arrays, dtype=report.dtype, factor=factor, typical=typical))
    sides = Sides(actual, captured.outputs, captured.exact_outputs)
    report.outputs = judge_outputs(stage, sides, given, report.dtype, factor, captured.outputs, "output", stage.carried)
    witness = stage.witnesses(pair, given)
    if witness:
        # a third party on the same file against the reference: says that the file was read rightly
        third = replace(sides, actual=witness)
        layers = judge_outputs(stage, third, given, "float32", factor, witness, "witness")
        report.outputs += [replace(layer, path=f"{stage.witness}.{layer.path}") for layer in layers]
    if not report.unobserved:
        report.measures = stage.measures(Observed(pair, stage, given, factor, sides, actual_layers, expected_layers))
        expected = captured.outputs.tensors
        # a model that streams in other hops makes what the reference does not
        report.arrays = {name: (mine, expected[name]) for name, mine in actual.tensors.items() if name in expected}
    return raised


def _run(
    pair: Any, captured: Captured, report: StageReport, known: Mapping[str, Any]
) -> tuple[Outputs, Recording, Exception | None]:
    """What MLX puts out; nothing where it raises, which is noted and returned."""
    stage, side, layers = captured.stage, captured.stage.model(pair), Recording()
    raised: Exception | None = None
    started = time.perf_counter()
    try:
        with side.running(), tap(side, layers.sink, stage.prefix, stage.keep):
            outputs = stage.call(side, captured.given.adding(known))
    except Exception as error:  # whatever a wrong port may raise is its fault, not the harness's
        report.unobserved.append(f"{stage.title}: MLX raised {type(error).__name__}: {error}")
        outputs, raised = Outputs(), error
    report.seconds_reference, report.seconds_model = captured.seconds, time.perf_counter() - started
    return outputs, layers, raised


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


def exempt_modules(pair: Any, stage: Stage) -> dict[str, str]:
    """Modules of the reference that the port leaves out on purpose -> why."""
    return {f"{stage.prefix}{path}": why for path, why in stage.model(pair).exempt().items()}


def judge_outputs(
    stage: Stage,
    sides: Sides,
    given: Given,
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
            *_of_sides(stage, *(one.tensors.get(name) for one in (sides.actual, sides.expected, sides.exact))),
            dtype=dtype,
            factor=factor,
            typical=partial(_other_floor, name, sides, carried),
        )
        for name in named.tensors
    ]
    return layers + [judge_tokens(stage, name, sides, given, dtype, factor) for name in named.tokens]


def _of_sides(stage: Stage, actual: Array, expected: Array, exact: Array) -> tuple[Array, Array, Array]:
    """What every side made, in the reference's layout."""
    if actual is not None and expected is not None:
        actual = stage.laid_out(actual, expected)
    return actual, expected, exact


def _floor_of(
    expected: Mapping[str, np.ndarray], exact: Mapping[str, np.ndarray], names: Sequence[str], one: Array
) -> float:
    """The `typical_floor` of one of what goes by these names; 0 of one alone, whose own floor it would be."""
    return typical_floor(((expected[name], exact.get(name)) for name in names), one) if len(names) > 1 else 0.0


def _other_floor(name: str, sides: Sides, carried: Callable[[str, Sides], float]) -> float:
    """The `typical_floor` of an output over all hops, or what is carried on to it."""
    expected, exact = sides.expected.tensors, sides.exact.tensors
    alike = [other for other in expected if _HOP.sub("", other) == _HOP.sub("", name)]
    return max(_floor_of(expected, exact, alike, exact.get(name)), carried(name, sides))


def judge_tokens(stage: Stage, name: str, sides: Sides, given: Given, dtype: str, factor: float) -> Layer:
    """Token ids must be equal, but where the stage finds that rounding decides."""
    actual, expected = sides.actual.tokens.get(name), sides.expected.tokens[name]
    if actual is None:
        return Layer(name, "tokens", Verdict.INCONCLUSIVE, reason="not observed on: MLX")
    if actual.shape != expected.shape:
        reason = f"{actual.size} tokens, the reference has {expected.size}"
        return Layer(name, "tokens", Verdict.DIVERGED, actual.shape, reason=reason)
    flips = actual != expected
    count = int(flips.sum())
    ties = int((flips & stage.near_ties(name, sides, given, dtype, factor)).sum()) if count else 0
    where = f", first at {int(np.flatnonzero(flips)[0])}" if count else ""
    reason = f"{flips.size} tokens equal" if not count else f"{count} of {flips.size} differ{where}, {ties} near ties"
    verdict = Verdict.PASS if count == ties else Verdict.DIVERGED
    return Layer(name, "tokens", verdict, actual.shape, error=count / max(flips.size, 1), floor=1.0, reason=reason)
