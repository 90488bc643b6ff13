"""Measures case by case, and writes every one down as soon as it is there."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence

from parity.nano.bench import Bench
from parity.nano.cases import cases
from parity.nano.measures import MEASURES, Measure
from parity.nano.results import Results

#: Cases between two lines that say how far it is.
REPORTED = 25


def measure_all(
    bench: Bench, results: Results, measures: Sequence[str], voices: Sequence[str], strings: range, *, likeness: bool
) -> list[str]:
    """Measure what `results` lacks.

    Args:
        bench: what is measured with.
        results: where it goes.
        measures: names of `MEASURES`.
        voices: of the recordings.
        strings: numbers of the held-out strings.
        likeness: measure again what was measured without it.

    Returns:
        The measures that were left out, as `flite` is not installed.
    """
    flite = shutil.which("flite") is not None
    for name in measures:
        if flite or not MEASURES[name].flite:
            _measure(bench, results, name, voices, strings, likeness=likeness)
    return [name for name in measures if MEASURES[name].flite and not flite]


def _measure(
    bench: Bench, results: Results, name: str, voices: Sequence[str], strings: range, *, likeness: bool
) -> None:
    measure: Measure = MEASURES[name]
    chosen = list(cases(bench.transcripts, voices, strings, measure.joined))
    for number, case in enumerate(chosen, start=1):
        known = results.of(name).get(case.key)
        if known is None or (likeness and "likeness" not in known and known.get("audio")):
            started = time.process_time()
            found = measure.of(bench, case)
            seconds = round(time.process_time() - started, 3)
            results.add(name, case.key, words=len(case.words), **found, seconds=seconds)
            if number % REPORTED == 0:
                print(f"{measure.title}: {number} of {len(chosen)}", file=sys.stderr, flush=True)
