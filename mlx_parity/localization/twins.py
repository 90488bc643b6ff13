"""Finds modules that are no twins, though they bear one name: one side does outside what the other does within.

An embedding that scales what it looks up, beside one whose caller does: each is right in its place. Judged by itself
neither is, so such modules count as a part of the module around them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import replace

import numpy as np

from mlx_parity.audit.weights import ALIKE
from mlx_parity.findings import Culprit
from mlx_parity.localization.blame import StageJudge
from mlx_parity.localization.captured import Captured
from mlx_parity.localization.isolate import INPUT, Call, Calls
from mlx_parity.taps import first_float


def false_twins(captured: Captured, judge: StageJudge, again: Callable[[Captured], StageJudge]) -> list[str]:
    """The modules without whose comparison nothing is wrong where it was right before, and fewer modules are blamed.

    Args:
        captured: of the stage.
        judge: of an isolated run.
        again: judges it without some modules.
    """
    dropped: list[str] = []
    known = judge.blamed
    for names in _suspects(captured, judge.culprits):
        tried: list[str] = []
        while names:
            tried += names
            now = again(without(captured, [*dropped, *tried])).blamed
            if now <= known and _modules(now) < _modules(known):
                dropped, known = [*dropped, *tried], now
                break
            # what is around it may be no twin for the same reason, if it is that which is blamed instead
            around = _modules(now - known)
            outer = {path for path in around if any(name.startswith(f"{path}.") for name in tried)}
            names = _all_alike(captured, outer) if outer == around else []
        if not known:
            break
    return dropped


def _modules(blamed: Set[tuple[str, str, str]]) -> set[str]:
    return {module for module, _, _ in blamed}


def without(captured: Captured, modules: Collection[str], why: str = "") -> Captured:
    """What was captured, without these modules; their parts stay. `why` is what the stage says of them."""
    return replace(
        captured,
        stage=captured.stage.apart_from(modules, why),
        calls={key: call for key, call in captured.calls.items() if key[0] not in modules},
        exact={key: captured.exact[key] for key in captured.exact if key[0] not in modules},
        layers={key: captured.layers[key] for key in captured.layers if key.split("#")[0] not in modules},
    )


#: What is said of a module that is called with an array of another size.
CALLED = "called with an array of shape"


def unlike_calls(captured: Captured, seen: Calls, kinds: Mapping[str, str], ended: bool) -> dict[str, str]:
    """The modules that the port calls more or less often than the reference does, or for arrays of other sizes -> how.

    Of the latter the first one, with those of its name in other blocks, and with its parts if it is called with another
    array: where it was fed what it is not called with, sizes behind it are wrong as well. `kinds` are the port's types,
    and `ended` says whether it came to its end, so that what it did not call it does not call.
    """
    here, there = Counter(call.path for call in seen.entered), Counter(path for path, _ in captured.calls)
    unlike = {
        path: f"called {here[path]} times, its namesake {there[path]} times"
        for path in here | there
        if here[path] > there[path] or (ended and here[path] < there[path])
    }
    sizes = {
        call.path: how
        for call in seen.entered
        if (how := _other_size(captured, call, kinds)) and call.path not in unlike
    }
    if sizes:
        first = next(iter(sizes))
        unlike |= {path: how for path, how in sizes.items() if _pattern(path) == _pattern(first)}
        if sizes[first].startswith(CALLED):
            unlike |= {path: "a part of such a module" for path in here | there if path.startswith(f"{first}.")}
    return unlike


def _other_size(captured: Captured, call: Call, kinds: Mapping[str, str]) -> str:
    """What has another size in a call than in the reference's, if anything has.

    What a layer of one kind on both sides returns follows from its weights and options: of another size it is wrong.
    """
    twin = captured.calls.get(call.key)
    if twin is None:
        return ""
    pairs = [(CALLED.removesuffix(" of shape"), call.arguments.get(INPUT), twin.arguments.get(INPUT))]
    kind = captured.types[call.path].lower()
    if call.output is not None and not (kind == kinds[call.path].lower() and kind.startswith(("conv", *ALIKE))):
        pairs.append(("returning an array", first_float(call.output), first_float(twin.output)))
    for what, one, other in pairs:
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.size != other.size:
            return f"{what} of shape {list(one.shape)}, its namesake {list(other.shape)}"
        if isinstance(one, np.ndarray) != isinstance(other, np.ndarray):
            return f"{what}, its namesake not" if isinstance(one, np.ndarray) else f"its namesake is {what}"
    return ""


def _pattern(path: str) -> str:
    """What the paths of a module in all blocks have in common."""
    return re.sub(r"\d+", "*", path)


def _suspects(captured: Captured, culprits: list[Culprit]) -> list[list[str]]:
    """Modules that may be no twins: those blamed and those called wrongly, all blocks' at once.

    The smallest first: without a large one, what is wrong within it would be blamed on what is around it, which may be
    to blame for something else already.
    """
    paths = dict.fromkeys(
        path
        for culprit in culprits
        for path in (culprit.module, culprit.place)
        if culprit.kind in ("leaf", "glue") and path != captured.stage.root
    )
    parts = Counter(
        path for path in paths for other, call in captured.calls if call == 0 and other.startswith(f"{path}.")
    )
    patterns = dict.fromkeys(_pattern(path) for path in sorted(paths, key=parts.__getitem__))
    return [_all_alike(captured, [pattern]) for pattern in patterns]


def _all_alike(captured: Captured, paths: Iterable[str]) -> list[str]:
    """These modules, and those whose paths differ in numbers only."""
    patterns = {_pattern(path) for path in paths}
    return [path for path in dict.fromkeys(path for path, _ in captured.calls) if _pattern(path) in patterns]
