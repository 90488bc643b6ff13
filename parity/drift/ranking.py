"""Which layers cost how much of the final error when a network runs in a lower precision.

The network is the MLX model in float32; precision is taken away from groups of layers (`networks.groups`) by simulation
(`rounding`). Every network runs on the float32 inputs that the reference made, so that errors of one do not hide
another's. For each precision:

1. Everything is rounded, and each call of a group is repeated in float32 on the same inputs: the group's own error.
2. To first order, the final error is the sum of all own errors, each carried to the output by the network's
   derivative. One backward pass along the direction of the final error gives every group's share of it. The shares
   add up to 1 as far as the first order holds; `explained` says how far. The vocoder's source has no derivative; its
   groups are few, and all are measured as in 3.
3. The groups with the largest shares are verified: each is rounded alone, everything else being float32. A
   verified share is (final error with this group alone / with all)^2, which adds up to 1 for independent errors. It
   can differ much from the estimate where the error is spread over many groups: the estimate counts what happened to
   point along the errors of the others too.
4. Proposed exceptions are the fewest verified groups, largest first, that hold half of the final error, and at least
   `measure.STANDS_OUT` times their fair share each. The final error is measured without and with these, and where they
   do not make it smaller nothing is proposed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_parity.localization.captured import advance, needed
from mlx_parity.localization.memory import give_back
from parity.drift.measure import VERIFIED, Measure, StageDrift
from parity.drift.networks import DRIFT_STAGES, DriftStage
from parity.drift.rounding import Precision
from parity.pair import Pair
from parity.quantization.packing import is_quantized
from parity.stages import Settings, stages_of

#: Quantization is for the language model, which has most of the weights; the other networks stay as they are.
QUANTIZED_STAGES = ("llm",)


@dataclass
class DriftReport:
    stages: list[StageDrift]
    settings: Settings


def drift(
    pair: Pair,
    inputs: dict[str, Any],
    precisions: Sequence[Precision],
    *,
    stages: Sequence[str] | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    verified: int = VERIFIED,
    progress: Callable[[str], None] = lambda message: None,
) -> DriftReport:
    """Rank the groups of layers of each network in each precision; see the module's docstring.

    Arguments as for `parity.run.run`, but for these.

    Args:
        pair: both models, the MLX one in float32.
        precisions: what to try.
        stages: names out of llm, flow, vocoder; None for all.
        verified: groups to run alone.

    Raises:
        ValueError: no such stage, or a network that the model lacks or does not hold in float32.
    """
    settings, unread = settings or Settings(), pair.unread()
    chosen = _chosen(stages)
    for stage in chosen:
        if getattr(pair.model, stage.component) is None:
            raise ValueError(f"the model has no {stage.component!r}: convert it with that component")
        if is_quantized(pair, stage.component):
            raise ValueError(
                f"{stage.component} of the model is quantized; drift is measured from float32: convert the checkpoint "
                "without --quantize"
            )
        if pair.dtype(stage.component) != "float32":
            raise ValueError(
                f"{stage.component} of the model is {pair.dtype(stage.component)}; drift is measured from float32: "
                "convert the checkpoint with --dtype float32"
            )
    last = {stage.last for stage in chosen}
    arrays = reference_arrays(pair, inputs, last, seed=seed, settings=settings, progress=progress)
    reports = []
    for stage in chosen:
        tried = [one for one in precisions if not one.quantized or stage.name in QUANTIZED_STAGES]
        if tried:
            measure = Measure(stage, pair.model, arrays, seed, settings, progress)
            reports += [measure.drift(precision, verified) for precision in tried]
            del measure
        if stage.component in unread:  # the next network needs the memory
            pair.let_go(stage.component)
            give_back()
    if not reports:
        raise ValueError(f"nothing to measure: q8 and q4 are for {', '.join(QUANTIZED_STAGES)} alone")
    return DriftReport(reports, settings)


def _chosen(names: Sequence[str] | None) -> list[DriftStage]:
    known = [stage.name for stage in DRIFT_STAGES]
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ValueError(f"no such stage: {', '.join(unknown)}; drift is measured in: {', '.join(known)}")
    return [stage for stage in DRIFT_STAGES if not names or stage.name in names]


def reference_arrays(
    pair: Pair,
    inputs: dict[str, Any],
    last: set[str],
    *,
    settings: Settings,
    seed: int = 0,
    progress: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """What the reference computes up to the stages named in `last`, in float32, by name."""
    arrays, there = dict(inputs), stages_of(pair.reference.family.networks)
    for stage in needed(there, [stage for stage in there if stage.name in last]):
        progress(f"{stage.title} (reference)")
        advance(stage, pair, arrays, settings, seed)
    return arrays
