"""Puts one fault after the other into the nano model and writes down what a listener noticed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from parity.faults.audible.listener import Listener
from parity.faults.audible.ways import Way, way_of
from parity.faults.base import Fault
from parity.nano.results import Results

#: Their names in the file of results.
FAULTY, HEALTHY = "audible", "healthy"


def try_all(
    listener: Listener, results: Results, faults: Sequence[Fault], progress: Callable[[str], Any] = lambda text: None
) -> None:
    """Try those that `results` lacks."""
    for fault in faults:
        if fault.name not in results.of(FAULTY):
            progress(fault.name)
            way = way_of(fault)
            _healthy(listener, results, way)
            started = time.process_time()
            found = _tried(listener, fault, way)
            results.add(FAULTY, fault.name, way=way.name, **found, seconds=round(time.process_time() - started, 2))


def _healthy(listener: Listener, results: Results, way: Way) -> None:
    spoken = listener.healthy(way)
    if way.name not in results.of(HEALTHY):
        results.add(HEALTHY, way.name, **listener.notices(spoken, spoken))


def _tried(listener: Listener, fault: Fault, way: Way) -> dict[str, Any]:
    healthy = listener.healthy(way)
    with ExitStack() as stack:
        try:
            stack.enter_context(fault.switch(listener.pair))
        except ValueError as error:
            return {"raised": f"cannot be made here: {error}"}
        try:
            spoken = listener.speak(way)
        except Exception as error:  # whatever a broken model raises: nobody hears anything then
            return {"raised": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    return listener.notices(spoken, healthy)
