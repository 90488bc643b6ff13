"""Tries many mutants, several at a time, each in a process forked from one that holds the libraries alone."""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from parity.mutation import bench as benches
from parity.mutation import trial as trials
from parity.mutation.bench import Bench
from parity.mutation.mutant import Mutant, Outcome
from parity.mutation.nearest import failing
from parity.mutation.reach import Reach
from parity.mutation.results import code_digest
from parity.mutation.trial import Trial

#: What every process needs, and what has no part in a mutant. MLX is not among it: its threads do not survive a fork.
PRELOADED = ["torch", "numpy", "onnxruntime", "onnx", "tokenizers", "safetensors.numpy", "soundfile", "soxr", "yaml"]
PRELOADED += ["huggingface_hub", "rich.console", "regex", "wetext", "inflect", "num2words", "parity.mutation.trial"]

#: Seconds after which a process is ended that neither works nor ends.
PATIENCE = 1200


class Processes:
    """Runs functions in processes of their own; all of them end with the context."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._running: set[BaseProcess] = set()

    def __enter__(self) -> Processes:
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(variable, "1")  # tiny models: more threads than mutants only get in each other's way
        return self

    def __exit__(self, *error: object) -> None:
        for process in list(self._running):
            process.kill()

    def call(self, function: Callable[..., None], *arguments: Any, say: Callable[[str], None] | None = None) -> Any:
        """`function(*arguments, send)` in a process of its own; what it sends last, or None if it sent nothing.

        Text that it sends on its way is handed to `say`.
        """
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=function, args=(*arguments, sender.send), daemon=True)
        process.start()
        sender.close()
        self._running.add(process)
        try:
            return _received(receiver, say)
        finally:
            process.kill()
            process.join()
            self._running.discard(process)


def _received(receiver: Any, say: Callable[[str], None] | None) -> Any:
    try:
        while receiver.poll(PATIENCE):
            value = receiver.recv()
            if not isinstance(value, str):
                return value
            if say:
                say(value)
    except EOFError:
        pass
    return None


def prepare(processes: Processes, bench: Bench, root: Path, files: list[str], say: Callable[[str], None]) -> None:
    """Fill the bench's folder, unless that was done with the code as it is; see `bench.prepare`.

    Raises:
        ValueError: the healthy model does not pass.
    """
    ready, code = bench.folder / benches.READY, code_digest(root)
    if ready.exists() and ready.read_text(encoding="utf-8") == code:
        return
    error = processes.call(_prepare, bench, f"{root}{os.sep}", files, say=say)
    if not isinstance(error, tuple):
        raise ValueError("the process that runs the healthy model died")
    if error:
        raise ValueError(error[0])
    ready.write_text(code, encoding="utf-8")


def _prepare(bench: Bench, root: str, files: list[str], send: Callable[[Any], None]) -> None:
    os.environ[benches.FORM] = bench.form
    try:
        benches.prepare(bench, root, files, send)
        send(())
    except ValueError as error:
        send((str(error),))


def try_all(
    processes: Processes,
    several: Sequence[Bench],
    mutants: Iterable[tuple[int, Mutant]],
    jobs: int,
    tested: Path | None = None,
) -> Iterator[Outcome]:
    """Try numbered mutants, `jobs` at a time; outcomes come in the order in which they are known.

    A survivor of the first bench is tried on the others, as far as they run the edited code. With `tested`, the
    checkout's root, one that survives them all and that one of the nearest unit tests catches is missed.
    """
    reaches, components = [bench.reach for bench in several], benches.stages_by_component()
    pool = ThreadPoolExecutor(jobs)
    planned = [
        [plan(number, mutant, bench, reach, components) for bench, reach in zip(several, reaches, strict=True)]
        for number, mutant in mutants
    ]
    try:
        for future in as_completed([pool.submit(_try, processes, trials, tested) for trials in planned]):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _try(processes: Processes, planned: Sequence[Trial], tested: Path | None) -> Outcome:
    for number, trial in enumerate(planned):
        if number and not (trial.mutant.is_code and trial.stages):
            continue
        found = processes.call(trials.run, trial)
        if not isinstance(found, Outcome):
            return trial.outcome("dies", named="wrong")
        if number == 0 or found.end != "survives":
            outcome = found
        if outcome.end != "survives":
            return outcome
    if tested and trial.mutant.is_code:
        failed = processes.call(failing, tested, trial.mutant)
        return replace(outcome, end="missed", evidence=f"{failed[0]} fails") if failed else outcome
    return outcome


def plan(number: int, mutant: Mutant, bench: Bench, reach: Reach, components: dict[str, set[str]]) -> Trial:
    """Where a mutant is to be looked for, and who is to be named."""
    expected, reached = _of_code(mutant, reach, components) if mutant.is_code else _of_folder(mutant, components)
    names = {benches.key_of(settings, stage.name): stage for settings, stages in benches.modes() for stage in stages}
    named = {name for one in expected for name in (benches.names_of(names[one]) if one in names else (one,))}
    parents = {reach.parent(name) for name in named if "*" not in name}
    # a module's method may have a name of its own
    named |= {name for one in reached for name in names[one].owners.values() if name.rpartition(".")[0] in named}
    return Trial(number, mutant, bench, [key for key in names if key in reached], frozenset(named), frozenset(parents))


def _of_code(mutant: Mutant, reach: Reach, components: dict[str, set[str]]) -> tuple[set[str], set[str]]:
    """The modules, or stages, that the edited function computes for or the edited statement builds; where it runs.

    What runs when a model is loaded shows in all stages of the components that it is for; what runs when a file is
    imported, in all stages that run anything of the file or, if it has no functions, in all that there are.
    """

    def over(found: dict[tuple[str, int], set[str]], lines: tuple[int, int]) -> set[str]:
        return set().union(*(found.get((mutant.file, line), set()) for line in range(*lines)))

    expected = over(reach.owners, mutant.scope) | over(reach.built, mutant.lines)
    reached = over(reach.stages, mutant.lines)
    if not reached and over(reach.owners, mutant.lines):
        reached = set().union(*(components.get(path.partition(".")[0], set()) for path in expected))
    if not reached and _at_import(mutant):
        whole = [name for name in reach.stages if name[0] == mutant.file]
        expected = expected or set().union(*(reach.owners.get(line, set()) for line in whole))
        reached = set().union(*(reach.stages[line] for line in whole)) or set().union(*components.values())
    return expected, reached


def _at_import(mutant: Mutant) -> bool:
    """Whether the edit is outside of all functions, or in what one has for defaults."""
    return mutant.lines[0] == mutant.scope[0] or not mutant.place.split(".")[-1].islower()


def _of_folder(mutant: Mutant, components: dict[str, set[str]]) -> tuple[set[str], set[str]]:
    if mutant.file.startswith("tokenizer"):
        return {"text_tokenizer", f"{mutant.file}: *"}, {"offline-text_tokenizer"}
    component, name = mutant.place.partition(".")[0], mutant.place
    offline = {key for key in components.get(component, set()) if key.startswith("offline")}
    if mutant.file.startswith("config"):
        return {f"{mutant.file}: {re.sub(r'[.][0-9.]+$', '', name)}"}, offline or {
            key for keys in components.values() for key in keys
        }
    return {tensor.rpartition(".")[0] for tensor in (name, mutant.partner) if tensor}, offline
