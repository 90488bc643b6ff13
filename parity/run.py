"""Runs the stages on both sides and compares every layer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mlx_parity.captures import capture, captured_in
from mlx_parity.compare import FACTOR
from mlx_parity.examination import examine_all
from mlx_parity.localization.captured import Captured, captures
from mlx_parity.stage import Stage as AnyStage
from parity.audit import accused_by, audit
from parity.findings import RunReport
from parity.pair import Pair
from parity.quantization.packing import quantization_drift
from parity.stages import Settings, Stage, choose_stages, stages_of


def run(
    pair: Pair,
    inputs: dict[str, Any],
    *,
    stages: Sequence[str] | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    factor: float = FACTOR,
    recorded: Path | None = None,
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
        recorded: a folder that `record` has written: the reference is not run again. Inputs, settings and seed are
            those of the recording then.
        progress: called with what is going on.

    Raises:
        ValueError: a stage that does not exist, or does not in this mode.
    """
    settings = settings or Settings()
    there = stages_of(pair.reference.family.networks)
    chosen = choose_stages(stages, settings, there)
    arrays = dict(inputs)
    if recorded is None:
        captured = captures(pair, arrays, there, chosen, settings, seed, progress)
    else:
        captured = captured_in(recorded, chosen, pair=pair, about=_about(pair, settings))
    report = judged(pair, captured, chosen, settings, factor, progress)
    run_stages = {stage.name for stage in report.stages}
    report.quantization = quantization_drift(pair, arrays, run_stages, settings, seed, progress)
    return report


def judged(
    pair: Pair,
    captured: Iterable[Captured],
    stages: Sequence[Stage],
    settings: Settings,
    factor: float,
    progress: Callable[[str], None],
) -> RunReport:
    """Hold the MLX model against what the reference did in `stages`; the other arguments as for `run`."""
    audits = audit(pair, stages, progress)
    reports = examine_all(pair, captured, partial(accused_by, audits), factor, progress, Unneeded(pair, stages).after)
    return RunReport(reports, settings, audits, family=pair.model.family.title)


class Unneeded:
    """The components of the model that have to be read for the stages of a run."""

    def __init__(self, pair: Pair, stages: Sequence[Stage]) -> None:
        self._pair, self._unread = pair, pair.unread()
        self._left = {stage.name: set(stage.components) for stage in stages}

    def after(self, stage: AnyStage) -> None:
        """That stage is done: free what it needed and no later one does."""
        freed = self._left.pop(stage.name) & self._unread
        for component in freed.difference(*self._left.values()):
            self._pair.let_go(component)


def record(
    pair: Pair,
    inputs: dict[str, Any],
    folder: Path,
    *,
    stages: Sequence[str] | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> Path:
    """Write what the reference does into a folder, for any number of runs; arguments as for `run`."""
    settings = settings or Settings()
    there = stages_of(pair.reference.family.networks)
    options |= {"chosen": choose_stages(stages, settings, there), "about": _about(pair, settings)}
    return capture(folder, there, inputs, pair=pair, settings=settings, **options)


def _about(pair: Pair, settings: Settings) -> dict[str, Any]:
    """By which checkpoint a recording was made, and how."""
    files = {str(path): path.stat() for path in sorted(pair.reference.checkpoint.iterdir()) if path.is_file()}
    digest = hashlib.sha256(repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in files.items()]).encode())
    return {"checkpoint": digest.hexdigest()[:16], "mode": settings.streaming or "offline"}
