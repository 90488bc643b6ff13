"""Judges one stage of the MLX model on the reference's own inputs, and says which modules are to blame."""

from __future__ import annotations

import operator
from collections.abc import Set
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mlx_parity.compare import Layer, Verdict, dtype_of, judge, typical_floor
from mlx_parity.findings import Culprit
from mlx_parity.free_run import exempt_modules, judge_outputs
from mlx_parity.localization.captured import Captured, constants_of
from mlx_parity.localization.differences import differs
from mlx_parity.localization.isolate import INPUT, OPAQUE, Call, Calls, Value, observe
from mlx_parity.localization.raised import PartRaisedError, raised_in
from mlx_parity.localization.recordings import key_of
from mlx_parity.localization.scenes import scene_of
from mlx_parity.sides import Side
from mlx_parity.stage import Outputs, Sides
from mlx_parity.suspects import Scene


class StageJudge:
    """One stage of one MLX model against the captured reference."""

    def __init__(self, pair: Any, captured: Captured, factor: float, accused: Set[str]) -> None:
        """`accused` are modules of its component that are wrong as they are stored."""
        self.stage, self.pair, self.captured, self.factor = captured.stage, pair, captured, factor
        self.accused = accused
        self.dtype = captured.stage.dtype(pair)
        self._given, self._expected = captured.stage.for_isolation(captured.given, captured.outputs)
        self.culprits: list[Culprit] = []
        self.layers: list[Layer] = []
        self.unobserved: list[str] = []
        self.outputs: Outputs | None = None
        self.calls = Calls()
        self.blamed = set[tuple[str, str, str]]()  # a module, what is wrong with it, and a call at which it shows
        self._seen: dict[tuple[str, str], Culprit] = {}
        self.shown: dict[tuple[str, str], Call] = {}
        self._place = {key: place for place, key in enumerate(captured.calls)}
        self._rank: dict[tuple[str, str], int] = {}
        self._doubtful: list[tuple[Call, str, Layer]] = []
        self._unfed: tuple[str, str, str, str] | None = None
        self._latest: dict[str, Call] = {}
        self._returned: dict[str, str] = {}

    def run(self) -> None:
        side = self.stage.model(self.pair)
        if not side.modules():
            found = self._call(side, None)
            if found is None:
                self.unobserved.append(f"{self.stage.title}: what comes after the exception")
            elif not self.accused:
                self._judge_outputs(found)
            return
        explained = self.accused | self._audit_constants(side)
        stage = self.stage
        with observe(side, stage, self.captured.calls) as calls:
            self.calls = calls
            outputs = self.outputs = self._call(side, calls)
        misled = self._misled(side, calls)
        self._latest = {}
        for call in calls.entered:
            self._latest[call.path] = call
            if call.caller not in self.accused and not call.caller.startswith(misled):
                self._judge_arguments(call)
            if not call.path.startswith(misled):
                self._judge_output(call, explained)
            self._returned[call.caller] = call.path
        self._judge_doubtful()
        if outputs is None:
            self.unobserved.append(f"{self.stage.title}: what comes after the exception")
        else:
            seen, exempt = calls.by_key(), exempt_modules(self.pair, self.stage)
            for key, expected in self.captured.calls.items():
                if key not in seen and expected.path not in exempt:
                    self.unobserved.append(f"{expected.path} was not called by MLX")
            # what was not fed comes out wrong where a culprit is inside
            if calls.isolated or not (self.culprits or self.accused):
                self._judge_outputs(outputs)
        self.culprits.sort(key=lambda culprit: self._rank[culprit.module, culprit.kind])

    def _call(self, side: Side, calls: Calls | None) -> Outputs | None:
        """The stage's outputs; None where the MLX model raises, for which the innermost module is blamed."""
        try:
            with side.running():
                if calls is None:
                    return self.stage.call_isolated(side, self._given, self._expected)
                return self.stage.call(side, self._given)
        except Exception as error:  # whatever a wrong port may raise is its fault, not the harness's
            failed = calls.failed if calls else None
            root = self.stage.root
            if isinstance(error, PartRaisedError) and isinstance(error.__cause__, Exception):
                root, error = error.part, error.__cause__
            path, children = (failed.path, failed.children) if failed else (root, 1)
            raised = (path, "glue" if children else "leaf", path, f"raised {type(error).__name__}: {error}")
            miscalled = self._miscalled(calls) if calls else None
            if miscalled:
                path, evidence = (
                    miscalled.path,
                    f"{path} {raised[-1]}, as {miscalled.path} was called without its input",
                )
                self._blame(miscalled.caller, "glue", path, evidence, argument=INPUT)
            elif calls and not self._fed(calls):
                self._unfed = raised
            else:
                self._latest = {call.path: call for call in calls.entered} if calls else {}  # of who called it how
                self._blame(*raised)
                network = "" if calls else raised_in(side, self.stage.component, error).partition(".")[0]
                self.culprits[-1].within = (network,) if network else ()
            return None

    def _miscalled(self, calls: Calls) -> Call | None:
        """The outermost call around the one that raised which is `bare`, though none of its twin's calls is."""
        given = {call.path for call in self.captured.calls.values() if not call.bare}
        given -= {call.path for call in self.captured.calls.values() if call.bare}
        return next((call for call in reversed(calls.failing) if call.bare and call.path in given), None)

    def _fed(self, calls: Calls) -> bool:
        """Whether the call that raised, or else the stage's own code, had the reference's values to work on.

        It had not if it or one around it was called with an array of another shape, whose layout cannot be told.
        """
        failed, feed = calls.failed, self.captured.calls
        if failed is None:
            return calls.isolated
        around = [call for call in calls.entered if f"{failed.path}.".startswith(f"{call.path}.")]
        known = [(call.arguments, feed[call.key].arguments) for call in around if call.key in feed]
        pairs = [(own[name], right[name]) for own, right in known for name in own if name in right]
        return failed.key in feed and all(_length(own) == _length(right) for own, right in pairs)

    def _blame(
        self,
        module: str,
        kind: str,
        place: str,
        evidence: str,
        layer: Layer | None = None,
        argument: str = "",
        at: Call | None = None,
    ) -> None:
        """Note a culprit, or one more evidence against it; `at` is the call at which it shows."""
        call = self._cut_off(module)
        if call is not None:
            module, kind, place, argument = call.caller, "glue", call.path, "cache"
        self.blamed.add((module, kind, place))
        known = self._seen.get((module, kind))
        if known:
            known.evidence.append(evidence)
            return
        culprit = Culprit(module, kind, self.stage.name, place, [evidence], layer, argument)
        self._seen[module, kind] = culprit
        if at is not None and call is None:
            self.shown[module, kind] = at
        self._rank[module, kind] = self._moment(module, place)
        self.culprits.append(culprit)

    def scene(self, culprit: Culprit) -> Scene | None:
        """What was captured around a culprit, where it is a value that is wrong."""
        call = self.shown.get((culprit.module, culprit.kind))
        if call is None or culprit.kind not in ("leaf", "glue"):
            return None
        side, seen = self.stage.model(self.pair), self.calls.by_key()
        return scene_of(self.captured, seen, side, call.key, culprit.argument, self.factor, self.dtype)

    def _cut_off(self, module: str) -> Call | None:
        """The outermost call around a module to which nothing was handed of the pieces before.

        None where there is no such call, or the module was wrong in the first piece already.
        """
        found, call = None, self._latest.get(module)
        if not self.stage.pieces(self.pair) or any(known == module for known, _ in self._seen):
            return None
        while call is not None:
            if self.stage.call_before(call.path, call.index) >= 0 and call.arguments.get("cache", OPAQUE) is None:
                found = call
            call = self._latest.get(call.caller)
        return found

    def _moment(self, module: str, place: str) -> int:
        """When a fault shows in the data flow: at the call of `place`, or after the last child of a module itself."""
        if place != module:
            return self._place.get((place, 0), len(self._place))
        inside = [at for (path, _), at in self._place.items() if path == module or path.startswith(f"{module}.")]
        return max(inside, default=len(self._place))

    def _audit_constants(self, side: Side) -> set[str]:
        """Hold the numbers that modules keep beside their weights against the official ones."""
        wrong = set()
        for path, constants in constants_of(side, self.stage).items():
            for name, official in self.captured.constants.get(path, {}).items():
                mine = constants.get(name, official)
                if abs(mine - official) > 1e-6 * abs(official):
                    wrong.add(path)
                    self._blame(
                        path, "leaf", path, f"its constant `{name}` is {mine:g}, the reference's is {official:g}"
                    )
        return wrong

    def _misled(self, side: Side, calls: Calls) -> tuple[str, ...]:
        """Modules that do not go on from what they have left in the piece before, for which their callers are blamed.

        What they and their parts compute then says nothing of themselves.
        """
        known, misled = calls.by_key(), []
        for call in calls.entered:
            before = known.get((call.path, self.stage.call_before(call.path, call.index)))
            if call.state is None or before is None or before.state is None:
                continue
            past, left = side.taken_up(call.state), side.left(before.state)
            if len(past) != len(left) or not all(map(operator.is_, past, left)):
                evidence = f"{call.path} does not go on from what its call in the piece before left (call {call.index})"
                self._blame(call.caller, "glue", call.path, evidence, argument="cache")
                misled.append(call.path)
        return tuple(misled)

    def _judge_arguments(self, call: Call) -> None:
        expected = self.captured.calls.get(call.key)
        exact = self.captured.exact.get(call.key)
        if expected is None or exact is None:
            if call.children == 0 and self.captured.calls:
                self.unobserved.append(f"{call.path} (call {call.index}) was not called by the reference")
            return
        for name, value in call.arguments.items():
            if name not in expected.arguments:
                continue
            values = value, expected.arguments[name], exact.arguments[name]
            problem = differs(*values, dtype=self.dtype, factor=self.factor)
            if problem:
                label = "its input" if name == INPUT else f"its argument `{name}`"
                evidence = f"{call.path} was called with a wrong value (call {call.index}): {label} {problem}"
                evidence += self._before(call)
                self._blame(self._source(call, name), "glue", call.path, evidence, argument=name, at=call)

    def _before(self, call: Call) -> str:
        """What the same caller had called before, up to where all was right."""
        before = self._returned.get(call.caller)
        return f"; {before} before it is right" if before else ""

    def _source(self, call: Call, name: str) -> str:
        """The module that made an argument: the caller, or one around it from which that has it.

        That is so where the caller itself was called with it, and its twin is called with nothing of that name, as it
        makes it by itself.
        """
        path, value = call.caller, call.arguments[name]
        while (outer := self._latest.get(path)) is not None and name in outer.arguments:
            twin = self.captured.calls.get(outer.key)
            if twin is None or name in twin.arguments or not _equal(outer.arguments[name], value):
                break
            path = outer.caller
        return path

    def _judge_output(self, call: Call, explained: Set[str]) -> None:
        expected, exact = self.captured.calls.get(call.key), self.captured.exact.get(call.key)
        if expected is None or exact is None or call.answered:
            return
        kind = "glue" if call.children else "leaf"
        for place, arrays in enumerate(zip(*_outputs(call.output, expected.output, exact.output), strict=True)):
            path = key_of(*call.key) + (f"[{place}]" if place else "")
            typical = partial(self._typical_floor, call.path, place, arrays[2])
            dtype = dtype_of(arrays[1], self.dtype)
            layer = judge(path, kind, *arrays, dtype=dtype, factor=self.factor, typical=typical)
            if not call.isolated:  # its own error or that of a call inside it, which was not fed
                self._doubtful.append((call, kind, layer))
                continue
            self.layers.append(layer)
            if _length(arrays[0]) != _length(arrays[1]) and self._misshapen(call, expected):
                continue  # another is blamed for it
            if layer.verdict is Verdict.DIVERGED and call.path not in explained:
                self._blame(call.path, kind, call.path, f"on the reference's own input: {layer.words}", layer, at=call)

    def _misshapen(self, call: Call, expected: Call) -> bool:
        """Whether a call's input was longer or shorter than the reference's, or what the last one within it returned.

        Such an output cannot be replaced by the reference's.
        """
        own, right = call.arguments.get(INPUT), expected.arguments.get(INPUT)
        return _length(own) != _length(right) or self._ends_misshapen(call.path)

    def _ends_misshapen(self, caller: str) -> bool:
        """Whether the last call that a module, or the stage itself, made returned an array of another length."""
        known, returned = self.captured.calls, [one for one in self.calls.returned if not one.answered]
        inside = [one for one in returned if one.caller == caller and one.key in known][-1:]
        return any(_length(_first(one.output)) != _length(_first(known[one.key].output)) for one in inside)

    def _typical_floor(self, path: str, place: int, one: np.ndarray) -> float:
        """Of one output of a module, by all of its calls."""
        made, exact = self.captured.calls, self.captured.exact
        pairs = [(made[key], exact[key]) for key in made if key[0] == path and key in exact]
        arrays = [_outputs(one.output, one.output, double.output)[1:] for one, double in pairs if not double.answered]
        return typical_floor(
            ((expected[place], double[place]) for expected, double in arrays if place < len(expected)), one
        )

    def _judge_doubtful(self) -> None:
        """Blame what a module did that was not fed, or ran others once too often, unless another fault explains it."""
        if self._unfed and not (self.culprits or self.accused):
            self._blame(*self._unfed)
        for call, kind, layer in self._doubtful:
            wrong = {*self.accused, *(place for one in self.culprits for place in (one.module, one.place))}
            explained = any(module.startswith(f"{call.path}.") for module in wrong)
            if layer.verdict is Verdict.DIVERGED and not explained:
                self._blame(call.path, kind, call.path, f"on the reference's own input: {layer.words}", layer, at=call)

    def _judge_outputs(self, outputs: Outputs) -> None:
        """What the stage's own code makes of its modules' outputs, all of which were replaced by right ones."""
        expected, stage = self._expected, self.stage
        sides = Sides(outputs, expected, self.captured.isolated_outputs)
        for layer in judge_outputs(stage, sides, self._given, self.dtype, self.factor, expected, "output"):
            if layer.path not in {**outputs.tensors, **outputs.tokens}:  # it ran to its end, so that is its own doing
                layer = replace(layer, verdict=Verdict.DIVERGED, reason="MLX ended without it")
            self.layers.append(layer)
            own, right = outputs.tensors.get(layer.path), expected.tensors.get(layer.path)
            if _length(own) != _length(right) and self.culprits and self._ends_misshapen(stage.root):
                continue  # as above: what returned it is blamed
            if layer.verdict is Verdict.DIVERGED:
                module, kind = stage.owner(layer.path)
                self._blame(module, kind, module, f"output `{layer.path}`: {layer.words}", layer)
                if not stage.component and kind == "glue":  # what it does wrong may be that of one of its parts
                    self._seen[module, kind].within = (module,)


def _length(value: Value) -> int:
    """How many numbers an array has; 0 of anything else."""
    return value.size if isinstance(value, np.ndarray) else 0


def _first(output: Value) -> Value:
    """An output, or the first of several."""
    return output[0] if isinstance(output, tuple) and output else output


def _equal(one: Value, other: Value) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return type(one) is type(other) and not isinstance(one, np.ndarray) and one == other


def _outputs(actual: Value, expected: Value, exact: Value) -> tuple[list[Any], list[Any], list[Any]]:
    """The arrays of floats in three outputs; of tuples only the first one where the sides return different things."""
    sides = [value if isinstance(value, tuple) else (value,) for value in (actual, expected, exact)]
    common = len(sides[0]) if len({len(side) for side in sides}) == 1 else 1
    places = [
        place
        for place, value in enumerate(sides[1][:common])
        if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)
    ]
    actual, expected, exact = (
        [side[place] if isinstance(side[place], np.ndarray) else None for place in places] for side in sides
    )
    return actual, expected, exact
