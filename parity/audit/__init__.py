"""Holds all that a model consists of against the official files, field by field: nothing is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from mlx_parity.findings import StageReport, culprits_of
from parity.audit.config import audit_config, audit_defaults
from parity.audit.tokenizer import audit_tokenizer
from parity.audit.weights import audit_weights
from parity.pair import Pair
from parity.stages import STAGES, Stage

#: What the names of audits begin with.
PREFIX = "audit."

#: Each gives the layers of a component, "" being the whole model; none for one that it has nothing to say of.
SUBJECTS = (audit_config, audit_defaults, audit_tokenizer, audit_weights)


def audit(
    pair: Pair, stages: Sequence[Stage] = STAGES, progress: Callable[[str], None] = lambda message: None
) -> list[StageReport]:
    """What is stored of each component that the stages run, as layers that bear the name of the tensor or field.

    Args:
        pair: both models; `pair.model` may have been changed since it was loaded.
        stages: the first of each component is where its culprits belong.
        progress: called with what is going on.
    """
    first = {"": stages[0]}
    for stage in stages:
        for path in (stage.component, *stage.runs):
            first.setdefault(path.split(".")[0], stage)
    return [_audited(pair, component, first[component], progress) for component in first]


def accused_by(audits: Sequence[StageReport], stage: Stage) -> set[str]:
    """What a stage runs and is wrong as it is stored: modules of its component, or parts of its tokenizer."""
    return {
        culprit.module
        for report in audits
        for culprit in report.culprits
        if culprit.kind != "config" and (report.name == f"{PREFIX}{stage.component}" or culprit.module in stage.runs)
    }


def _audited(pair: Pair, component: str, stage: Stage, progress: Callable[[str], None]) -> StageReport:
    name, started = component or "model", time.perf_counter()
    progress(f"{name}: what is stored")
    report = StageReport(f"{PREFIX}{name}", f"Audit: {name}", pair.dtype(component))
    report.layers = [layer for subject in SUBJECTS for layer in subject(pair, component)]
    report.culprits = culprits_of(report.layers, stage.name)
    report.seconds_model = time.perf_counter() - started
    return report
