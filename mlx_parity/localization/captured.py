"""The reference's side of a run, which serves any number of MLX models.

A stage is run three times: in the working dtype; in float64, which says how much of an error is rounding; and in
float64 with every module fed with what it was fed with in the working dtype, which says so of each module by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlx_parity.localization.isolate import CallsByKey, Feed, observe
from mlx_parity.localization.memory import give_back
from mlx_parity.localization.recordings import CallsBeside, RecordingBeside
from mlx_parity.sides import Side
from mlx_parity.stage import Given, Outputs, Stage
from mlx_parity.taps import tap

#: Constants that modules of both sides hold under the same name.
CONSTANTS = ("eps",)


@dataclass
class Captured:
    """What the reference did in one stage.

    Attributes:
        given: what it was called with, what `Stage.prepare` makes included.
        calls, outputs: in the working dtype.
        exact, isolated_outputs: in float64, fed with what `calls` were fed with.
        layers, exact_outputs: in float64, fed with the inputs alone.
        types: path -> the name of the module's type.
        constants: path -> the numbers that the module there holds beside its weights, such as the epsilon of a norm.
        seconds: of the run in the working dtype.
    """

    stage: Stage
    given: Given
    calls: CallsByKey
    exact: Feed
    layers: Mapping[str, np.ndarray]
    outputs: Outputs
    isolated_outputs: Outputs
    exact_outputs: Outputs
    types: dict[str, str]
    constants: dict[str, dict[str, float]]
    seconds: float


def captures(
    pair: Any,
    arrays: dict[str, Any],
    stages: Sequence[Stage],
    chosen: Collection[Stage],
    settings: Any,
    seed: int,
    progress: Callable[[str], None],
) -> Iterator[Captured]:
    """Run the reference through the stages, one by one.

    Args:
        pair: both models.
        arrays: the inputs by name; what the reference makes is added.
        stages: the pipeline, in data-flow order.
        chosen: those of it to capture. Others are run where a chosen one needs what they give.
        settings: handed to the stages.
        seed: of the tape from which both sides draw.
        progress: called with what is going on.
    """
    for stage in needed(stages, chosen):
        give_back()
        if stage in chosen:
            progress(f"{stage.title}: PyTorch")
            yield _capture(stage, pair, arrays, settings, seed)  # kept by nobody here
        else:
            progress(f"{stage.title}: PyTorch only")
            advance(stage, pair, arrays, settings, seed)
        stage.let_go()


def needed(stages: Sequence[Stage], chosen: Collection[Stage]) -> list[Stage]:
    """Those of a pipeline's stages that are chosen, and all that give them something, in data-flow order."""
    wanted, found = set[str](), list[Stage]()
    for stage in reversed(stages):
        if stage in chosen or wanted & set(stage.gives):
            found.insert(0, stage)
            wanted |= set(stage.needs)
    return found


def advance(stage: Stage, pair: Any, arrays: dict[str, Any], settings: Any, seed: int) -> Outputs:
    """Run the reference alone in the working dtype, so that later stages find in `arrays` what they need."""
    side = stage.reference(pair, stage.dtype(pair))
    with side.running():
        arrays.update(stage.prepare(side, Given(arrays, settings, seed)))
        outputs = stage.call(side, Given(arrays, settings, seed))
    arrays.update(stage.publish(outputs, arrays))
    return outputs


def _capture(stage: Stage, pair: Any, arrays: dict[str, Any], settings: Any, seed: int) -> Captured:
    side = stage.reference(pair, stage.dtype(pair))
    with side.running():
        arrays.update(stage.prepare(side, Given(arrays, settings, seed)))
        given = Given(arrays, settings, seed)
        started = time.perf_counter()
        calls, outputs = _observed(stage, side, given)
        seconds = time.perf_counter() - started
        constants = constants_of(side, stage)
        loop = not side.modules()
        exact: Feed = {}
        if loop:
            isolated = stage.call_isolated(side.holding(side.module, "float64"), given, outputs)
        del side  # its network is gone before that of twice the size comes
        double, recording = stage.reference(pair, "float64"), RecordingBeside(calls)
        types = {f"{stage.prefix}{path}": double.kind(module) for path, module in double.modules().items()}
    with double.running():
        if not loop:
            fed, isolated = _observed(stage, double, stage.for_isolation(given, outputs)[0], calls)
            exact = CallsBeside(fed)
        with tap(double, recording.sink, stage.prefix, stage.keep):
            exact_outputs = stage.call(double, given)
    arrays.update(stage.publish(outputs, arrays))
    layers: Mapping[str, np.ndarray] = recording
    pieces = stage.pieces(pair)
    if pieces:
        calls, exact, layers = pieces.calls(calls), pieces.calls(exact), pieces.arrays(layers)
    return Captured(*(stage, given, calls, exact, layers, outputs, isolated, exact_outputs, types, constants, seconds))


def _observed(stage: Stage, side: Side, given: Given, feed: Feed | None = None) -> tuple[CallsByKey, Outputs]:
    """A side's calls and outputs, its modules being fed if there is something to feed them."""
    with observe(side, stage, feed) as calls:
        outputs = stage.call(side, given)
    return calls.by_key(), outputs


def constants_of(side: Side, stage: Stage) -> dict[str, dict[str, float]]:
    """Path -> the `CONSTANTS` that the module there has."""
    found = {}
    for path, child in side.modules().items():
        own = {name: float(getattr(child, name)) for name in CONSTANTS if isinstance(getattr(child, name, None), float)}
        if own:
            found[f"{stage.prefix}{path}"] = own
    return found
