"""The measurements behind `ranking`, for one network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.model import SpeechModel
from mlx_parity.compare import Difference, compare
from parity.drift.networks import DriftStage, groups
from parity.drift.own_errors import own_errors, shares
from parity.drift.rounding import Precision, rounded
from parity.sides.mlx import MLXSide
from parity.stages import Settings
from parity.stages.base import Given

#: Groups that are verified by a run of their own, and so the most that can be proposed.
VERIFIED = 5

#: Exceptions end when they hold this much of the final error.
ENOUGH = 0.5

#: A group is no exception unless its share is this many times that of a group when all share alike.
STANDS_OUT = 2.0

#: Exceptions are proposed where the final error with them is less than this many times that without. Errors of groups
#: that point against each other can make it larger.
HELPS = 0.9


@dataclass
class GroupDrift:
    """A group of layers. Errors are relative root mean squares against float32; `alone` is None if not verified.

    `share` is of the final error: measured where `alone` is, else estimated; infinite where the group's own output
    overflows.
    """

    path: str
    own: float
    share: float = 0.0
    alone: float | None = None


@dataclass
class StageDrift:
    """One network in one precision.

    `groups` are ranked by share. `final` is the error of the output with everything rounded, `kept` with the
    `exceptions` in float32; both against float32. `explained` is the sum of the estimated shares, None where all
    were measured. `baseline` is the float32 MLX output against the reference's.
    """

    stage: str
    title: str
    output: str
    precision: Precision
    groups: list[GroupDrift]
    final: Difference
    kept: Difference
    baseline: Difference
    exceptions: list[str] = field(default_factory=list)
    explained: float | None = None
    note: str = ""
    #: The Linear and Embedding layers, where the precision is a quantization.
    quantized: list[str] = field(default_factory=list)
    not_quantized: list[str] = field(default_factory=list)


class Measure:
    """One network, its float32 output, and what becomes of it."""

    def __init__(
        self,
        stage: DriftStage,
        model: SpeechModel,
        arrays: dict[str, Any],
        seed: int,
        settings: Settings,
        progress: Callable[[str], None],
    ) -> None:
        self.stage, self.arrays, self.seed, self.settings = stage, arrays, seed, settings
        self.model = getattr(model, stage.component)
        self.groups = groups(model.family[stage.component], self.model)
        self._progress = progress
        self.exact = self._output()
        mx.eval(self.exact)

    def _output(self) -> mx.array:
        return self.stage.run(MLXSide(self.model, lazy=True), Given(self.arrays, self.settings, self.seed))

    def _rounded(self, names: Iterable[str], precision: Precision) -> mx.array:
        """The output with the named groups rounded."""
        with rounded([(name, self.groups[name]) for name in names], precision):
            output = self._output()
            mx.eval(output)
        return output

    def _difference(self, output: mx.array) -> Difference:
        return compare(np.array(output), np.array(self.exact))

    def drift(self, precision: Precision, verified: int) -> StageDrift:
        """Rank the groups, propose exceptions, and measure with them. `verified` is how many groups are run alone."""

        def say(what: str) -> None:
            self._progress(f"{self.stage.title}, {precision.name}: {what}")

        candidates = self._candidates(precision)
        ranked, low, explained, note = self._estimate(candidates, precision, say)
        whole = self._difference(low).relative_rms
        for group in ranked[:verified] if self.stage.differentiable else ranked:
            say(f"only {group.path} rounded")
            group.alone = self._difference(self._rounded([group.path], precision)).relative_rms
            if math.isfinite(group.own) and math.isfinite(whole) and whole:
                group.share = (group.alone / whole) ** 2
        ranked.sort(key=lambda group: -abs(group.share))
        exceptions = _exceptions(ranked, verified)
        say("with the exceptions in float32")
        if any(math.isinf(group.own) for group in ranked):
            low = self._rounded(candidates, precision)  # the other one was mended where it overflowed
        final = self._difference(low)
        kept = self._difference(self._rounded((name for name in candidates if name not in exceptions), precision))
        if exceptions and not kept.relative_rms < HELPS * final.relative_rms:
            found = f"{', '.join(exceptions)} in float32 would not make the error smaller"
            exceptions, kept, note = [], final, "; ".join(filter(None, (note, found)))
        reference = np.asarray(self.arrays[self.stage.output], np.float32)
        return StageDrift(
            stage=self.stage.name,
            title=self.stage.title,
            output=self.stage.output,
            precision=precision,
            groups=ranked,
            final=final,
            kept=kept,
            baseline=compare(np.array(self.exact), reference),
            exceptions=exceptions,
            explained=explained,
            note=note,
            quantized=self._layers(precision, True),
            not_quantized=self._layers(precision, False),
        )

    def _candidates(self, precision: Precision) -> dict[str, nn.Module]:
        """The groups that the precision changes at all."""
        if not precision.quantized:
            return self.groups
        return {
            path: group
            for path, group in self.groups.items()
            if any(precision.quantizes(module) for _, module in group.named_modules())
        }

    def _layers(self, precision: Precision, quantized: bool) -> list[str]:
        """The Linear and Embedding layers that the precision quantizes, or those that it would but cannot."""
        if not precision.quantized:
            return []
        return [
            f"{self.stage.component}.{path}"
            for path, module in sorted(self.model.named_modules())
            if isinstance(module, (nn.Linear, nn.Embedding)) and precision.quantizes(module) is quantized
        ]

    def _estimate(
        self, candidates: dict[str, nn.Module], precision: Precision, say: Callable[[str], None]
    ) -> tuple[list[GroupDrift], mx.array, float | None, str]:
        """The groups ranked by their estimated shares, the output whose error these refer to, their sum, a caveat."""
        say("everything rounded, and each group's own error")
        with own_errors(candidates, precision) as noted:
            low = self._output()
            mx.eval(low)
        ranked = [GroupDrift(path, own) for path, own in noted.relative().items()]
        finite = {group.path: group.own for group in ranked if math.isfinite(group.own)}
        whole = self._difference(low).relative_rms
        explained, note = None, ""
        if self.stage.differentiable and math.isfinite(whole) and whole:
            say("shares of the final error")
            estimated = shares(self._output, candidates, noted, finite, low - self.exact)
            explained = sum(estimated.values())
        else:
            total = sum(own**2 for own in finite.values())
            estimated = {path: own**2 / total if total else 0.0 for path, own in finite.items()}
            if not math.isfinite(whole):
                note = "the output overflows though no group's own does; shares are of the groups' own errors"
        for group in ranked:
            group.share = estimated[group.path] if group.path in finite else math.inf
        ranked.sort(key=lambda group: -abs(group.share))
        return ranked, low, explained, note


def _exceptions(ranked: list[GroupDrift], most: int) -> list[str]:
    """The fewest of the verified groups that hold `ENOUGH` of the error, each standing out."""
    chosen: list[str] = []
    held = 0.0
    for group in [group for group in ranked if group.alone is not None][:most]:
        overflows = math.isinf(group.share)
        if not overflows and (held >= ENOUGH or group.share < STANDS_OUT / len(ranked)):
            break
        chosen.append(group.path)
        held += 0.0 if overflows else group.share
    return chosen
