"""Holds one stage of an MLX model against the captured reference, freely and module by module, for one verdict."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Set
from functools import partial
from itertools import takewhile
from typing import Any

from mlx_parity.compare import EPSILON, Verdict
from mlx_parity.findings import Culprit, StageReport
from mlx_parity.free_run import run_freely
from mlx_parity.localization.arguments import under_the_ports_names
from mlx_parity.localization.blame import StageJudge
from mlx_parity.localization.captured import Captured
from mlx_parity.localization.memory import give_back
from mlx_parity.localization.raised import networks_of, raised_in
from mlx_parity.localization.twins import false_twins, unlike_calls, without
from mlx_parity.stage import Stage
from mlx_parity.suspects import probable_cause

#: For so many culprits of a stage the usual suspects are tried; after those come the same ones in other layers.
MOST_TRIED = 12


def examine_all(
    pair: Any,
    captured: Iterable[Captured],
    accused: Callable[[Stage], Set[str]],
    factor: float,
    progress: Callable[[str], None],
    done: Callable[[Stage], None] = lambda stage: None,
) -> list[StageReport]:
    """`examine` stage by stage, each as soon as it was captured; what is `accused` in one is not blamed again.

    `done` is told of every stage that has been judged, before the next one is captured.
    """
    reports = []
    for one in captured:
        give_back()
        progress(f"{one.stage.title}: MLX")
        stage = one.stage
        reports.append(examine(pair, one, factor, accused(stage)))
        del one  # before the next one is captured
        done(stage)
    return reports


def examine(pair: Any, captured: Captured, factor: float, accused: Set[str] = frozenset()) -> StageReport:
    """Everything that is known of the stage. Where it diverges there is a culprit.

    Args:
        pair: both models; `pair.model` as it is now.
        captured: what the reference did in the stage.
        factor: allowed error in noise floors.
        accused: modules of its component that are wrong as they are stored.
    """
    stage = captured.stage
    report = StageReport(stage.name, stage.title, stage.dtype(pair))
    captured, known = _judge_by_itself(pair, captured, report, factor, accused)
    stage = captured.stage
    report.unpaired = stage.unpaired()
    raised = run_freely(pair, captured, report, factor, known)
    if raised and not report.culprits and not accused:
        report.culprits.append(_who_raised(pair, captured, raised))
    if report.verdict is Verdict.DIVERGED and not report.culprits and not accused:
        report.culprits.append(_where_they_part(captured, report))
    report.remarks = stage.remarks(report)
    return report


def _judge_by_itself(
    pair: Any, captured: Captured, report: StageReport, factor: float, accused: Set[str]
) -> tuple[Captured, dict[str, Any]]:
    """Enter what an isolated run says. Return what of the stage is compared, and what the free run need not find out.

    What else it has seen is gone when this returns, before more is run.
    """
    if captured.stage.loose:
        captured, judge = _with_twins_alone(pair, captured, factor, accused)
    else:
        judge = _judged(pair, captured, factor, accused)
    report.culprits, report.isolated, report.unobserved = judge.culprits, judge.layers, judge.unobserved
    for culprit in judge.culprits[:MOST_TRIED]:
        scene = judge.scene(culprit)
        culprit.cause = probable_cause(scene) if scene else ""
    return captured, captured.stage.known(judge.outputs) if judge.outputs else {}


def _judged(pair: Any, captured: Captured, factor: float, accused: Set[str]) -> StageJudge:
    judge = StageJudge(pair, captured, factor, accused)
    judge.run()
    return judge


def _with_twins_alone(pair: Any, captured: Captured, factor: float, accused: Set[str]) -> tuple[Captured, StageJudge]:
    """What was captured of modules that do the same on both sides, and its judge. The others are judged as parts."""
    side, judge = captured.stage.model(pair), _judged(pair, captured, factor, accused)
    kinds = {f"{captured.stage.prefix}{path}": side.kind(module) for path, module in side.modules().items()}
    while unlike := unlike_calls(captured, judge.calls, kinds, ended=judge.outputs is not None):
        for how in dict.fromkeys(unlike.values()):
            captured = without(captured, [path for path in unlike if unlike[path] == how], how)
        judge = _judged(pair, captured, factor, accused)
    if judge.culprits:
        again = partial(_judged, pair, factor=factor, accused=accused)
        false = false_twins(captured, judge, again)
        captured = without(captured, false, "no twin of its namesake, which what is around it makes up for")
        return under_the_ports_names(captured, again(captured), again)  # with all layouts that were found by now
    return captured, judge


def made_up_for(
    pair: Any, captured: Captured, modules: Mapping[str, float], factor: float
) -> tuple[set[str], Captured]:
    """Those of a `loose` stage's modules whose weights are others, though nothing that is seen of them is wrong.

    Whatever is stored in them is what the port needs, be it the reference's or not.

    Args:
        pair: both models.
        captured: what the reference did in the stage.
        modules: path -> the relative error of its weights. One that would drown in rounding is no proof.
        factor: allowed error in noise floors.

    Returns:
        The modules, and what was captured of those that do the same on both sides.
    """
    twins, judge = _with_twins_alone(pair, captured, factor, frozenset())
    blamed = {culprit.module for culprit in judge.culprits}
    errors = dict.fromkeys(
        {path for path, _ in captured.calls} - {path for path, _ in twins.calls}, EPSILON[judge.dtype]
    )
    for layer in judge.layers:
        path = re.split(r"[#\[]", layer.path)[0]
        errors[path] = max(errors.get(path, 0.0), layer.error)
    right = {path for path, error in errors.items() if modules.get(path, 0.0) > factor * error}
    return right - blamed, twins


def _who_raised(pair: Any, captured: Captured, error: Exception) -> Culprit:
    """Whom to blame for an exception that comes only where nothing stands in for what modules return.

    A loop around networks, which are asked nothing where it is judged by itself, only tells that one of them is wrong.
    """
    stage = captured.stage
    side = stage.model(pair)
    module = raised_in(side, stage.component, error) or stage.root
    evidence = f"raised {type(error).__name__}: {error}"
    networks = tuple(networks_of(side, stage.component or module.partition(".")[0]))
    return Culprit(module, "glue", stage.name, module, [evidence], inferred=True, within=networks)


def _where_they_part(captured: Captured, report: StageReport) -> Culprit:
    """The smallest call to blame for what only shows when errors add up: it lies between right and wrong."""
    stage, rows = captured.stage, [*report.layers, *report.outputs]
    right = [*takewhile(lambda layer: layer.verdict is not Verdict.DIVERGED, rows)]
    wrong, root = rows[len(right)], stage.root
    path = wrong.path.split("#")[0]
    if wrong.type == "witness":
        module = root
    elif path in captured.types:
        module = _common(path, right[-1].path.split("#")[0] if right else root) or root
    else:
        module = stage.suspect(path)
    before = f"{right[-1].path} agrees, " if right else ""
    evidence = f"{before}{wrong.path} is the first that does not, though every module is right by itself"
    return Culprit(module, "glue", report.name, module, [evidence, wrong.words], wrong, inferred=True)


def _common(path: str, other: str) -> str:
    """The innermost module that has both within it, neither being that module."""
    parents = (path.split(".")[:-1], other.split(".")[:-1])
    return ".".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(*parents, strict=False)))
