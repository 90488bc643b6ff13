"""Finds which argument of a port is which of the reference where they have other names, for whoever passes a wrong one.

What a module is called with is nobody's to judge where its twin has no argument of that name. But either may have one
alone that holds a mask, say: if a module is right once it is given the reference's, its caller is to blame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from mlx_parity.compare import allowed
from mlx_parity.localization.blame import StageJudge
from mlx_parity.localization.captured import Captured
from mlx_parity.localization.isolate import OPAQUE, Call, Value
from mlx_parity.pairing.layout import without_ones


def under_the_ports_names(
    captured: Captured, judge: StageJudge, again: Callable[[Captured], StageJudge]
) -> tuple[Captured, StageJudge]:
    """What was captured, with arguments under the port's names for them if that moves the blame outwards; its judge.

    Args:
        captured: of the stage.
        judge: of an isolated run.
        again: judges another.
    """
    seen = {call.key: call.arguments for call in judge.calls.entered if call.key in captured.calls}
    names = {key: found for key, own in seen.items() if (found := _names(own, captured.calls[key].arguments))}
    if not names or not judge.culprits:
        return captured, judge
    calls, exact = (
        {key: _renamed(call, names[key], seen[key]) if key in names else call for key, call in side.items()}
        for side in (captured.calls, captured.exact)
    )
    named, root = replace(captured, calls=calls, exact=exact), captured.stage.root
    other = again(named)
    before, now = ({culprit.module for culprit in one.culprits} for one in (judge, other))
    right, raised = before - now, other.outputs is None and judge.outputs is not None

    def around(module: str, part: str) -> bool:
        return module == root or part.startswith(f"{module}.")

    explained = all(any(around(module, part) for module in now) for part in right)
    outwards = all(any(around(module, part) for part in right) for module in now - before)
    return (named, other) if right and explained and outwards and not raised else (captured, judge)


def _names(own: Mapping[str, Value], right: Mapping[str, Value]) -> dict[str, str]:
    """The reference's names -> the port's, of arrays that are alone of their form among what either side has alone."""
    mine = {name: value for name, value in own.items() if name not in right}
    theirs = {name: value for name, value in right.items() if name not in own and isinstance(value, np.ndarray)}
    pairs = [(name, twin) for name in mine for twin in theirs if _of_one_form(name, mine[name], theirs[twin])]
    counts = Counter(name for pair in pairs for name in pair)
    return {twin: name for name, twin in pairs if counts[name] == counts[twin] == 1}


def _of_one_form(name: str, own: Value, right: np.ndarray) -> bool:
    """Whether both are masks of one shape, or both are rows of as many numbers. A word, or none, may be a mask."""
    if own is OPAQUE or own is None:
        return "mask" in name and _is_mask(right)
    if not isinstance(own, np.ndarray):
        return False
    if _is_mask(own) or _is_mask(right):
        return _is_mask(own) and _is_mask(right) and without_ones(own.shape) == without_ones(right.shape)
    return own.dtype.kind == right.dtype.kind == "f" and own.ndim == right.ndim > 1 and own.shape[-1] == right.shape[-1]


def _is_mask(array: np.ndarray) -> bool:
    return array.dtype == bool or (array.ndim > 1 and not ((array != 0) & allowed(array)).any())


def _renamed(call: Call, names: Mapping[str, str], own: Mapping[str, Value]) -> Call:
    """A call of the reference under the port's names. Its masks are boolean, unless the port's is added to scores."""
    arguments = {names.get(name, name): value for name, value in call.arguments.items()}
    for name in names.values():
        if not isinstance(own[name], np.ndarray) or own[name].dtype == bool:
            arguments[name] = np.squeeze(allowed(arguments[name]))
    return replace(call, arguments=arguments)
