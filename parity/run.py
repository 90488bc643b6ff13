"""Runs the stages on both sides and compares every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from parity.audit import audit
from parity.compare import FACTOR
from parity.examination import examine_all
from parity.findings import RunReport
from parity.localization.captured import captures
from parity.pair import Pair
from parity.quantization.packing import quantization_drift
from parity.stages import Settings, choose_stages, stages_of


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
    """Compare the chosen stages, in data-flow order, and name the modules that compute something else.

    Before, everything that is stored of their components is held against the official files. What the reference did in
    one stage is gone before the next one runs.

    Args:
        pair: both models; `pair.model` may have been changed since it was loaded.
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
    chosen = choose_stages(stages, settings, stages_of(pair.reference.family.networks))
    audits = audit(pair, chosen, progress)
    arrays = dict(inputs)
    captured = captures(pair, arrays, chosen, settings, seed, progress)
    reports = examine_all(pair, captured, chosen, audits, factor, progress)
    packing = quantization_drift(pair, arrays, {report.name for report in reports}, settings, seed, progress)
    return RunReport(reports, settings, audits, packing, pair.model.family.title)
