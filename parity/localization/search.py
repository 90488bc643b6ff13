"""Names the module at fault.

Errors add up on their way through a network, so the layer that looks worst is rarely the one that is wrong. Here every
module is judged on the reference's own inputs (`isolate`, `blame`), after its weights were held against the official
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from parity.compare import FACTOR, Layer, Verdict, worst
from parity.inputs import load_inputs
from parity.localization.blame import KINDS, Captured, Culprit, StageJudge, constants_of
from parity.localization.cut import cut_call
from parity.localization.isolate import Calls, observe
from parity.pair import DTYPES, Pair
from parity.pieces import in_pieces
from parity.run import StageReport, advance, compare_stage, needed_by
from parity.sides.pytorch import TorchSide
from parity.stages import Settings, Stage, choose_stages, stages_of
from parity.stages.base import Streaming
from parity.tape import Tape

__all__ = ["KINDS", "Culprit", "LocaliseReport", "ReferenceCapture", "localise"]


@dataclass
class LocaliseReport:
    """What `localise` found.

    `layers` holds every isolated comparison by stage; `unobserved` lists what kept it from a pass. `free`
    holds the ordinary comparison, in which errors add up, of the stages that have a culprit.
    """

    verdict: Verdict
    culprits: list[Culprit]
    layers: dict[str, list[Layer]] = field(default_factory=dict)
    unobserved: list[str] = field(default_factory=list)
    free: dict[str, StageReport] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)


class ReferenceCapture:
    """The reference's side of a localisation, made once and used for any number of MLX models."""

    def __init__(
        self,
        pair: Pair,
        inputs: dict[str, Any],
        *,
        stages: Sequence[str] | None = None,
        settings: Settings | None = None,
        seed: int = 0,
        progress: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.settings, self.seed = settings or Settings(), seed
        there = stages_of(pair.reference.family.networks)
        self.stages = choose_stages(stages, self.settings, there)
        self.captured: dict[str, Captured] = {}
        arrays = dict(inputs)
        with torch.inference_mode():
            for stage in there:
                if stage in self.stages:
                    progress(f"{stage.title}: reference")
                    self.captured[stage.name] = self._capture(stage, pair, arrays)
                elif any(needed_by(other, stage) for other in self.stages):
                    progress(f"{stage.title}: reference only")
                    advance(stage, pair, arrays, Tape(seed), self.settings)

    def _capture(self, stage: Stage, pair: Pair, arrays: dict[str, Any]) -> Captured:
        dtype, settings = DTYPES[pair.dtype(stage.component)], self.settings
        side = stage.reference(pair, dtype)
        arrays.update(stage.prepare(side, arrays, Tape(self.seed), settings))
        inputs, calls, exact_calls = dict(arrays), Calls(), Calls()
        if not side.modules():
            outputs = stage.call(side, inputs, Tape(self.seed), settings)
            double = TorchSide(side.module, torch.float64)
            exact = stage.call_isolated(double, inputs, Tape(self.seed), settings, outputs)
        else:
            with observe(side, stage.component, stage.keep) as calls:
                outputs = stage.call(side, inputs, Tape(self.seed), settings)
            double = stage.reference(pair, torch.float64)
            with observe(double, stage.component, stage.keep, calls.by_key()) as exact_calls:
                exact = stage.call(double, inputs, Tape(self.seed), settings)
        arrays.update(stage.publish(outputs, arrays))
        constants = constants_of(side, stage.component)
        made, exactly = calls.by_key(), exact_calls.by_key()
        pieces = stage.pieces(pair)
        if pieces:
            made, exactly = (in_pieces(whole, pieces, cut_call) for whole in (made, exactly))
        return Captured(inputs, made, exactly, outputs, exact, constants)

    def localise(
        self,
        pair: Pair,
        *,
        stages: Sequence[str] | None = None,
        free_run: bool = True,
        factor: float = FACTOR,
        progress: Callable[[str], None] = lambda message: None,
    ) -> LocaliseReport:
        """Hold the MLX model of `pair`, as it is now, against the captured reference.

        Args:
            pair: both models.
            stages: names, out of those captured; None for all of them.
            free_run: compare stages with a culprit once more, not isolated, for `LocaliseReport.free`.
            factor: allowed error in noise floors.
            progress: called with what is going on.
        """
        free: dict[str, StageReport] = {}
        culprits: list[Culprit] = []
        layers: dict[str, list[Layer]] = {}
        unobserved: list[str] = []
        for stage in self.stages:
            if stages is not None and stage.name not in stages:
                continue
            progress(f"{stage.title}: MLX")
            found = StageJudge(stage, pair, self.captured[stage.name], factor)
            found.run(Tape(self.seed), self.settings)
            # two stages may share a component, whose weights are audited in both
            known = {(culprit.module, culprit.kind) for culprit in culprits}
            culprits += [culprit for culprit in found.culprits if (culprit.module, culprit.kind) not in known]
            layers[stage.name] = found.layers
            unobserved += found.unobserved
            if free_run and found.culprits:
                progress(f"{stage.title}: MLX, free run")
                compared = self._free_run(stage, pair, factor)
                free |= {stage.name: compared} if compared else {}
        verdicts = [layer.verdict for rows in layers.values() for layer in rows]
        if culprits:
            verdicts.append(Verdict.DIVERGED)
        if unobserved:
            verdicts.append(Verdict.INCONCLUSIVE)
        return LocaliseReport(worst(verdicts), culprits, layers, unobserved, free, self.settings)

    def _free_run(self, stage: Stage, pair: Pair, factor: float) -> StageReport | None:
        """The ordinary comparison of a stage; None where the faulty model raises."""
        arrays = dict(self.captured[stage.name].inputs)
        try:
            with torch.inference_mode():
                return compare_stage(stage, pair, arrays, Tape(self.seed), self.settings, factor)
        except Exception:  # its culprit says so already
            return None


def localise(
    pair: Pair,
    inputs: dict[str, Any] | None = None,
    *,
    stages: Sequence[str] | None = None,
    streaming: Streaming | None = None,
    seed: int = 0,
    factor: float = FACTOR,
    progress: Callable[[str], None] = lambda message: None,
) -> LocaliseReport:
    """Find the modules of `pair.model` that compute something else than the reference does.

    Args:
        pair: both models; `pair.model` may have been changed since it was loaded.
        inputs: as for `parity.run.run`; None for the recording that the project ships.
        stages: names; None for all.
        streaming: how speech is streamed; None for offline synthesis.
        seed: of the tape from which both sides draw.
        factor: allowed error in noise floors.
        progress: called with what is going on.

    Raises:
        ValueError: a stage that does not exist.
    """
    settings = Settings(streaming=streaming)
    inputs = load_inputs() if inputs is None else inputs
    capture = ReferenceCapture(pair, inputs, stages=stages, settings=settings, seed=seed, progress=progress)
    return capture.localise(pair, factor=factor, progress=progress)
