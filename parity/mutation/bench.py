"""What all trials have in common: the reference's recordings, what the healthy model does, and where it does it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlx_parity.captures.values import read_values, write_values
from parity.memoized import forget_results
from parity.mutation.reach import Reach, Tracer

if TYPE_CHECKING:
    from mlx_parity.localization.captured import Captured
    from parity.pair import Pair
    from parity.stages import Settings, Stage

#: Says in which form networks are computed. It is read when the package is imported, which is not to be done here.
FORM = "MLX_COSYVOICE_FORM"
#: Files of a bench; the last one says of which code the others are.
REACH, HEALTHY, READY = "reach.pickle", "healthy.json", "ready.txt"


@dataclass(frozen=True)
class Bench:
    """Folders: the official checkpoint, the model converted from it, one with packed weights, and what is kept.

    `form` is what the environment says of the form that networks are computed in: "", or "device".
    """

    checkpoint: Path
    model: Path
    packed: Path
    folder: Path
    form: str = ""

    def recording(self, key: str) -> Path:
        """The file of a stage."""
        return self.folder / f"{key}.json"

    def recall(self, key: str) -> Captured:
        """What the reference did in a stage."""
        from mlx_parity.captures.folder import read_captured
        from parity.stages import STAGES

        name = key.partition("-")[2]
        return read_captured(next(stage for stage in STAGES if stage.name == name), self.recording(key), "float32")

    @property
    def reach(self) -> Reach:
        reach: Reach = pickle.loads((self.folder / REACH).read_bytes())
        return reach

    def healthy(self) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """What the public functions of the healthy model return, and how much rounding changes of it."""
        healthy: tuple[dict[str, np.ndarray], dict[str, float]] = read_values(self.folder / HEALTHY)
        return healthy


def modes() -> Iterator[tuple[Settings, list[Stage]]]:
    """The settings of every run, and its stages: offline all that there are, else those that streaming changes."""
    from parity.stages import Settings, compared_in
    from parity.stages.base import STREAMING

    for streaming in (None, *STREAMING):
        yield Settings(streaming=streaming), compared_in(streaming)


def key_of(settings: Settings, stage: str) -> str:
    """The name of a stage in a mode."""
    return f"{settings.streaming or 'offline'}-{stage}"


def stages_by_component() -> dict[str, set[str]]:
    """Component -> the names of the stages that run it."""
    found: dict[str, set[str]] = {}
    for settings, stages in modes():
        for stage in stages:
            for component in stage.components or (stage.component,):
                found.setdefault(component, set()).add(key_of(settings, stage.name))
    return found


def names_of(stage: Stage) -> set[str]:
    """What a stage calls the parts of it that are no modules; "*" stands for anything."""
    return {stage.component or stage.name, f"{stage.name}.*", *stage.owners.values()}


def prepare(bench: Bench, root: str, files: list[str], progress: Callable[[str], None]) -> None:
    """Run both sides of the healthy model, and fill the bench's folder.

    Args:
        bench: whose folder exists.
        root: of the checkout, with a slash at its end.
        files: those of which is noted which lines run.
        progress: called with what is going on.

    Raises:
        ValueError: the healthy model does not pass, so nothing could be said of others.
    """
    from mlx_parity.captures.folder import write_captured
    from mlx_parity.localization.captured import captures
    from parity.inputs import SAMPLE, load_inputs
    from parity.mutation.probe import noise, nudged, probe
    from parity.pair import load_pair
    from parity.stages import stages_of

    tracer = Tracer(root, files)
    progress("loading the healthy model")
    with tracer.during(""):
        pair = load_pair(bench.checkpoint, bench.model)
    every = stages_of(pair.reference.family.networks)
    for settings, stages in modes():
        for captured in captures(pair, load_inputs(), every, stages, settings, 0, progress):
            key = key_of(settings, captured.stage.name)
            write_captured(captured, bench.recording(key), "float32")
            progress(f"{key}: the healthy model")
            _look(pair, bench.recall(key), partial(tracer.during, key))
    progress("the public functions")
    (bench.folder / REACH).write_bytes(pickle.dumps(tracer.reach(_paths(pair))))
    healthy = probe(pair.model, SAMPLE)
    write_values((healthy, noise(nudged(pair.model, SAMPLE), healthy)), bench.folder / HEALTHY)


def _look(pair: Pair, captured: Captured, traced: Callable) -> None:  # type: ignore[type-arg]
    from mlx_parity.compare import Verdict
    from parity.search import localise_in

    forget_results()
    with traced():
        report = localise_in(pair, [captured], captured.given.settings)
    if report.verdict is not Verdict.PASS:
        blamed = ", ".join(culprit.module for culprit in report.culprits)
        raise ValueError(
            f"{captured.stage.title}: the healthy model is {report.verdict.value} ({blamed}): mend it first"
        )


def _paths(pair: Pair) -> dict[int, str]:
    """Identity of every module of the model -> its official path."""
    found = {}
    for component in pair.model.family.names:
        for path, module in getattr(pair.model, component).named_modules():
            found[id(module)] = f"{component}.{path}" if path else component
    return found
