"""One mutant in a process of its own: is it found, and is the right module named?"""

from __future__ import annotations

import os
import re
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.mutation import damage
from parity.mutation.bench import FORM, Bench
from parity.mutation.mutant import Mutant, Outcome
from parity.mutation.overlay import install

if TYPE_CHECKING:
    from parity.findings import RunReport
    from parity.pair import Pair

#: Seconds of processor time after which a mutant hangs: the healthy model needs some 25 for everything.
TIME_LIMIT = 120
#: Memory that a mutant may take: a wrong shape can ask for anything.
MEMORY_LIMIT = 8 << 30


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes:
        number: of the mutant.
        stages: those that run it, in order.
        expected: the modules to be named; "*" stands for anything.
        parents: those around them.
    """

    number: int
    mutant: Mutant
    bench: Bench
    stages: Sequence[str]
    expected: frozenset[str]
    parents: frozenset[str]

    def named(self, culprits: Sequence[str]) -> str:
        """How well the culprits are named: each must be, but for the modules in which a wrong setting shows as well."""
        if self.mutant.file == damage.CONFIG and any(_all_match([culprit], self.expected) for culprit in culprits):
            return "exactly"
        if _all_match(culprits, self.expected):
            return "exactly"
        return "parent" if _all_match(culprits, self.expected | self.parents) else "wrong"

    def outcome(self, end: str, **more: Any) -> Outcome:
        expected = tuple(sorted(self.expected))
        return Outcome(self.number, self.mutant.to_dict(), end, expected=expected, reached=tuple(self.stages), **more)


class TimeUp(BaseException):
    """The time limit was reached; no `except Exception` on the way catches it."""


def _all_match(names: Iterable[str], patterns: Iterable[str]) -> bool:
    patterns = list(patterns)
    return all(any(fnmatchcase(name, pattern) for pattern in patterns) for name in names)


def run(trial: Trial, send: Callable[[Outcome], None]) -> None:
    """Try it in this process, which must not have imported the package, and hand over what became of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever is interrupted ends its trials itself
    signal.signal(signal.SIGXCPU, _time_is_up)
    resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT + 20))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
    os.environ[FORM] = trial.bench.form
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what a mutant says while it fails
    try:
        outcome = _try_code(trial) if trial.mutant.is_code else _try_folder(trial)
    except TimeUp as stopped:
        outcome = _raised(trial, stopped, "hangs")
    except Exception as error:
        outcome = _raised(trial, error, "raises")
    send(replace(outcome, seconds=round(time.process_time(), 1)))


def _time_is_up(number: int, frame: object) -> None:
    raise TimeUp(f"stopped after {TIME_LIMIT} s of processor time")


def _try_code(trial: Trial) -> Outcome:
    install(trial.mutant.file, trial.mutant.text)
    from parity.pair import load_pair

    return _examined(trial, load_pair(trial.bench.checkpoint, trial.bench.model))


def _try_folder(trial: Trial) -> Outcome:
    from mlx_cosyvoice.weights import ModelFolderError
    from parity.pair import load_pair

    packed = trial.mutant.operator.startswith("packed")
    with tempfile.TemporaryDirectory() as folder:
        model = trial.bench.packed if packed else trial.bench.model
        try:
            pair = load_pair(trial.bench.checkpoint, damage.damaged(trial.mutant, model, Path(folder) / "model"))
        except (ModelFolderError, ValueError) as error:
            return trial.outcome(
                "refused", named=_refused(trial, str(error)), evidence=str(error).replace(folder, "")[:300]
            )
        return _run(trial, pair) if packed else _examined(trial, pair)


def _refused(trial: Trial, message: str) -> str:
    """A refusal names what it says in words, at least the component."""
    place = re.sub(r"[.][0-9.]+$", "", trial.mutant.place)  # of a field that is a list
    if trial.mutant.file == damage.TOKENIZER:
        return "exactly" if damage.TOKENIZER in message else "wrong"
    if place in message or f"{place.split('.')[-1]} " in message:
        return "exactly"
    return "parent" if f"{place.split('.')[0]}." in message else "wrong"


def _run(trial: Trial, pair: Pair) -> Outcome:
    """With a reference of its own: that of a packed model has the weights that the model holds."""
    from parity.inputs import load_inputs
    from parity.run import run

    stages = [name.partition("-")[2] for name in trial.stages]
    return _judged(trial, run(pair, load_inputs(), stages=stages)) or trial.outcome("survives")


def _examined(trial: Trial, pair: Pair) -> Outcome:
    """Mode by mode, as one would run them; the first that diverges says who it was."""
    from parity.inputs import SAMPLE
    from parity.mutation.probe import changed, probe
    from parity.search import localise_in

    for mode in dict.fromkeys(key.partition("-")[0] for key in trial.stages):
        captured = [trial.bench.recall(key) for key in trial.stages if key.startswith(f"{mode}-")]
        outcome = _judged(trial, localise_in(pair, captured, captured[0].given.settings))
        if outcome:
            return outcome
    try:
        different = changed(probe(pair.model, SAMPLE), *trial.bench.healthy())
    except Exception as error:  # parity saw nothing of it
        different = [f"{type(error).__name__}: {error}"[:300]]
    return trial.outcome("missed", evidence=", ".join(different)) if different else trial.outcome("survives")


def _judged(trial: Trial, report: RunReport) -> Outcome | None:
    """What a run says of the mutant; None where it does not diverge."""
    from mlx_parity.compare import Verdict

    if report.verdict is not Verdict.DIVERGED:
        return None
    culprits = tuple(culprit.module for culprit in report.culprits)
    evidence = report.culprits[0].evidence[0] if report.culprits else ""
    named = trial.named(culprits) if culprits else "wrong"
    return trial.outcome("diverged", named=named, culprits=culprits, evidence=evidence)


def _raised(trial: Trial, error: BaseException, end: str) -> Outcome:
    """What an exception names: the edited statement or function, if its traceback goes through it; see `_names`."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    frames = [frame for frame in traceback.extract_tb(cause.__traceback__) if "/mlx_cosyvoice/" in frame.filename]
    culprits = tuple(f"{frame.filename.rpartition('/mlx_cosyvoice/')[2]}:{frame.name}" for frame in frames[-1:])
    text = f"{type(error).__name__}: {error}"
    return trial.outcome(end, named=_names(trial, frames, text), culprits=culprits, evidence=text[:300])


def _names(trial: Trial, frames: list[traceback.FrameSummary], text: str) -> str:
    """Exactly: the edited statement is on the way, or raises within its function, or a module of it is in the text."""
    mutant = trial.mutant
    function = mutant.place.split(".")[-1] or "<module>"
    inside = [frame.filename.endswith(mutant.file) and frame.name == function for frame in frames]
    on_the_way = [same and frame.lineno in range(*mutant.lines) for same, frame in zip(inside, frames, strict=True)]
    if inside[-1:] == [True] or any(on_the_way) or any(f"{path}." in text for path in trial.expected):
        return "exactly"
    return "parent" if any(inside) else "wrong"
