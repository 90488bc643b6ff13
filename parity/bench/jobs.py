"""What a worker runs for a case, and how it is timed."""

from __future__ import annotations

import math
import time
import timeit
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlx_parity.intercept import ModuleCall, intercepted


@dataclass
class Outcome:
    """What one run made.

    Attributes:
        output: an array in the official layout that is compared with the other side's, or None.
        laps: parts of the run, a dict of numbers each (a hop's seconds, tokens and samples).
        numbers: more figures of the run by name.
    """

    output: np.ndarray | None = None
    laps: list[dict[str, float]] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A case made ready on one side.

    Attributes:
        run: the timed part; all that it computes must have been computed when it returns.
        setup: what comes before it in every run, not timed; its result is passed to `run`.
        outcome: run's result to an `Outcome`, not timed.
    """

    run: Callable[[Any], Any]
    setup: Callable[[], Any] = lambda: None
    outcome: Callable[[Any], Outcome] = lambda result: Outcome()


def clock() -> Callable[[], dict[str, float]]:
    """Tells the wall time, and the processor time of all threads, since now."""
    started, busy = time.perf_counter(), time.process_time()
    return lambda: {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - busy}


def timed(job: Job) -> tuple[dict[str, float], Outcome]:
    """Run a job once: its times by a `clock`, and what it made."""
    prepared = job.setup()
    elapsed = clock()
    result = job.run(prepared)
    return elapsed(), job.outcome(result)


def rate(run: Callable[[], Any], work: float) -> float:
    """Work a second, of the fastest of five runs: a limit is what the machine can do, not what it usually does."""
    run()
    return work / min(timeit.repeat(run, number=1, repeat=5))


def endless(llm: Any) -> AbstractContextManager[None]:
    """Within, the language model of either side does not end its speech, as random weights would at any time."""

    def answer(call: ModuleCall) -> Any:
        scores = call.run()
        scores[..., llm.speech_token_size :] = -math.inf
        return scores

    return intercepted({"llm_decoder": llm.llm_decoder}, answer)
