"""The reference's side of a run, which serves any number of MLX models.

A stage is run three times: in the working dtype; in float64, which says how much of an error is rounding; and in
float64 with every module fed with what it was fed with in the working dtype, which says so of each module by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from parity.capture import tap
from parity.localization.cut import cut_call
from parity.localization.isolate import Feed, observe
from parity.localization.memory import give_back
from parity.localization.recordings import CallsBeside, CallsByKey, Recording, RecordingBeside
from parity.pair import DTYPES, Pair
from parity.pieces import Piece, in_pieces
from parity.sides import Side
from parity.sides.pytorch import TorchSide
from parity.stages import STAGES, Outputs, Settings, Stage, stages_of
from parity.stages.base import Arrays
from parity.tape import Tape

#: Constants that modules of both sides hold under the same name.
CONSTANTS = ("eps",)


@dataclass
class Captured:
    """What the reference did in one stage.

    Attributes:
        inputs: arrays by name, those that `Stage.prepare` makes included.
        calls, outputs: in the working dtype.
        exact, isolated_outputs: in float64, fed with what `calls` were fed with.
        layers, exact_outputs: in float64, fed with the inputs alone.
        types: path -> the name of the module's type.
        constants: path -> the numbers that the module there holds beside its weights, such as the epsilon of a norm.
        seconds: of the run in the working dtype.
    """

    stage: Stage
    settings: Settings
    seed: int
    inputs: dict[str, Any]
    calls: CallsByKey
    exact: Feed
    layers: Mapping[str, np.ndarray]
    outputs: Outputs
    isolated_outputs: Outputs
    exact_outputs: Outputs
    types: dict[str, str]
    constants: dict[str, dict[str, float]]
    seconds: float

    @property
    def tape(self) -> Tape:
        """From its beginning."""
        return Tape(self.seed)


def captures(
    pair: Pair,
    arrays: dict[str, Any],
    chosen: Collection[Stage],
    settings: Settings,
    seed: int,
    progress: Callable[[str], None],
) -> Iterator[Captured]:
    """Run the reference through the stages, one by one.

    Args:
        pair: both models.
        arrays: the inputs by name; what the reference makes is added.
        chosen: those to capture. Others are run where a chosen one needs what they give.
        settings: streaming and lengths.
        seed: of the tape from which both sides draw.
        progress: called with what is going on.
    """
    for stage in needed(pair, chosen):
        give_back()
        if stage in chosen:
            progress(f"{stage.title}: PyTorch")
            yield _capture(stage, pair, arrays, settings, seed)  # kept by nobody here
        else:
            progress(f"{stage.title}: PyTorch only")
            advance(stage, pair, arrays, Tape(seed), settings)


def needed(pair: Pair, chosen: Collection[Stage]) -> list[Stage]:
    """Those stages and all that give them something, in data-flow order."""
    there = stages_of(pair.reference.family.networks)
    return [stage for stage in there if stage in chosen or any(needed_by(other, stage) for other in chosen)]


def needed_by(later: Stage, earlier: Stage) -> bool:
    """Whether `later` needs, through any stages between them, something that `earlier` gives."""
    wanted = set(later.needs)
    for stage in reversed(STAGES[: STAGES.index(later)]):
        if wanted & set(stage.gives):
            if stage is earlier:
                return True
            wanted |= set(stage.needs)
    return False


@torch.inference_mode()
def advance(stage: Stage, pair: Pair, arrays: dict[str, Any], tape: Tape, settings: Settings) -> Outputs:
    """Run the reference alone in the working dtype, so that later stages find in `arrays` what they need."""
    side = stage.reference(pair, DTYPES[pair.dtype(stage.component)])
    arrays.update(stage.prepare(side, arrays, tape, settings))
    outputs = stage.call(side, arrays, tape, settings)
    arrays.update(stage.publish(outputs, arrays))
    return outputs


@torch.inference_mode()
def _capture(stage: Stage, pair: Pair, arrays: dict[str, Any], settings: Settings, seed: int) -> Captured:
    side = stage.reference(pair, DTYPES[pair.dtype(stage.component)])
    arrays.update(stage.prepare(side, arrays, Tape(seed), settings))
    inputs = dict(arrays)
    calls, outputs, seconds = _observed(stage, side, inputs, settings, seed)
    constants = constants_of(side, stage.component)
    loop = not side.modules()
    if loop:
        double = TorchSide(side.module, torch.float64)
        exact: Feed = {}
        isolated = stage.call_isolated(double, inputs, Tape(seed), settings, outputs)
        del double
    del side  # its network is gone before that of twice the size comes
    double, recording = stage.reference(pair, torch.float64), RecordingBeside(calls)
    types = {f"{stage.component}.{path}": type(module).__name__ for path, module in double.modules().items()}
    if not loop:
        exact, isolated = _isolated(stage, double, inputs, outputs, settings, seed, calls)
    with tap(double, recording.sink, f"{stage.component}.", stage.keep):
        exact_outputs = stage.call(double, inputs, Tape(seed), settings)
    arrays.update(stage.publish(outputs, arrays))
    layers: Mapping[str, np.ndarray] = recording
    pieces = stage.pieces(pair)
    if pieces:
        calls, exact = (in_pieces(whole, pieces, cut_call) for whole in (calls, exact))
        layers = _in_pieces(layers, pieces)
    return Captured(
        *(stage, settings, seed, inputs, calls, exact, layers),
        *(outputs, isolated, exact_outputs, types, constants, seconds),
    )


def _observed(
    stage: Stage, side: Side, inputs: Mapping[str, Any], settings: Settings, seed: int
) -> tuple[CallsByKey, Outputs, float]:
    """A side's calls and outputs, and the seconds it took."""
    started = time.perf_counter()
    with observe(side, stage.component, stage.keep) as calls:
        outputs = stage.call(side, inputs, Tape(seed), settings)
    return calls.by_key(), outputs, time.perf_counter() - started


def _isolated(
    stage: Stage, side: Side, inputs: Arrays, outputs: Outputs, settings: Settings, seed: int, feed: CallsByKey
) -> tuple[CallsBeside, Outputs]:
    """The same of the side in float64 whose modules are fed."""
    inputs, _ = stage.for_isolation(inputs, outputs)
    with observe(side, stage.component, stage.keep, feed, stage.entered) as calls:
        isolated = stage.call(side, inputs, Tape(seed), settings)
    return CallsBeside(calls.by_key()), isolated


def _in_pieces(recording: Mapping[str, np.ndarray], pieces: tuple[Piece, ...]) -> Recording:
    """What was recorded of one run over everything, as it is recorded of a run over pieces."""
    whole = {}
    for key, array in recording.items():
        path, _, call = key.partition("#")
        whole[path, int(call or 0)] = array
    cut = Recording()
    for (path, index), array in in_pieces(whole, pieces, lambda array, _, piece: piece.cut(array)).items():
        cut.sink(path, index, array)
    return cut


def constants_of(side: Side, component: str) -> dict[str, dict[str, float]]:
    """Official path -> the `CONSTANTS` that the module there has."""
    found = {}
    for path, child in side.modules().items():
        own = {name: float(getattr(child, name)) for name in CONSTANTS if isinstance(getattr(child, name, None), float)}
        if own:
            found[f"{component}.{path}"] = own
    return found
