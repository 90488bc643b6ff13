"""Names the module at fault.

Errors add up on their way through a network, so the layer that looks worst is rarely the one that is wrong. Here every
module is judged on the reference's own inputs (`parity.isolate`), after the weights were held against the official ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
import torch
from mlx.utils import tree_flatten

from mlx_cosyvoice.nn.official import from_official
from parity.compare import FACTOR, Layer, Verdict, judge, worst
from parity.isolate import INPUT, OPAQUE, Call, Calls, Value, observe_mlx, observe_torch
from parity.pair import DTYPES, Pair
from parity.run import advance, exempt_modules, needed_by
from parity.stages import STAGES, Outputs, Settings, Stage
from parity.tape import Tape

#: What is wrong with a culprit.
KINDS = ("weights", "leaf", "glue")


@dataclass
class Culprit:
    """A module that computes something else than its official twin.

    `kind`: "weights" (a parameter differs from the official one), "leaf" (a module without parts is wrong on right
    input), or "glue" (its parts are right, what it does between them is not: a mask, an order, a scale, a missing
    activation). `place` is the call at which it shows: its own path, or the child that was given a wrong argument.
    """

    module: str
    kind: str
    stage: str
    place: str
    evidence: list[str] = field(default_factory=list)
    layer: Layer | None = None


@dataclass
class LocaliseReport:
    """What `localise` found. `unobserved` lists what kept it from a pass."""

    verdict: Verdict
    culprits: list[Culprit]
    layers: dict[str, list[Layer]] = field(default_factory=dict)
    unobserved: list[str] = field(default_factory=list)


@dataclass
class _Captured:
    """What the reference did in one stage, in the working dtype and, fed by it, in float64."""

    given: dict[str, Any]
    calls: dict[tuple[str, int], Call]
    exact: dict[tuple[str, int], Call]
    outputs: Outputs
    exact_outputs: Outputs


class ReferenceCapture:
    """The reference's side of a localisation, made once and used for any number of MLX models."""

    def __init__(
        self,
        pair: Pair,
        inputs: dict[str, Any],
        *,
        stages: Sequence[str] | None = None,
        settings: Settings | None = None,
        seed: int = 0,
        progress: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.settings, self.seed = settings or Settings(), seed
        self.stages = [stage for stage in STAGES if stages is None or stage.name in stages]
        self.captured: dict[str, _Captured] = {}
        given = dict(inputs)
        with torch.inference_mode():
            for stage in STAGES:
                if stage in self.stages:
                    progress(f"{stage.title}: reference")
                    self.captured[stage.name] = self._capture(stage, pair, given)
                elif any(needed_by(other, stage) for other in self.stages):
                    progress(f"{stage.title}: reference only")
                    advance(stage, pair, given, Tape(seed), self.settings)

    def _capture(self, stage: Stage, pair: Pair, given: dict[str, Any]) -> _Captured:
        dtype = DTYPES[pair.dtype(stage.component)]
        module = pair.reference.component(stage.component, dtype) if stage.component else None
        given.update(stage.prepare(module, given, Tape(self.seed), self.settings, dtype))
        before = dict(given)
        if not isinstance(module, torch.nn.Module):
            outputs = stage.run_reference(module, before, Tape(self.seed), self.settings, dtype)
            exact = stage.run_reference(module, before, Tape(self.seed), self.settings, torch.float64)
            calls, exact_calls = Calls(), Calls()
        else:
            with observe_torch(module, stage.component, stage.keep, dtype=dtype) as calls:
                outputs = stage.run_reference(module, before, Tape(self.seed), self.settings, dtype)
            double = pair.reference.component(stage.component, torch.float64)
            with observe_torch(double, stage.component, stage.keep, calls.by_key()) as exact_calls:
                exact = stage.run_reference(double, before, Tape(self.seed), self.settings, torch.float64)
        given.update(stage.publish(outputs, given))
        return _Captured(before, calls.by_key(), exact_calls.by_key(), outputs, exact)

    def localise(
        self, pair: Pair, *, factor: float = FACTOR, progress: Callable[[str], None] = lambda message: None
    ) -> LocaliseReport:
        """Hold the MLX model of `pair`, as it is now, against the captured reference."""
        culprits: list[Culprit] = []
        layers: dict[str, list[Layer]] = {}
        unobserved: list[str] = []
        for stage in self.stages:
            progress(f"{stage.title}: MLX")
            found = _Judge(stage, pair, self.captured[stage.name], factor)
            found.run(Tape(self.seed), self.settings)
            # two stages may share a component, whose weights are audited in both
            known = {(culprit.module, culprit.kind) for culprit in culprits}
            culprits += [culprit for culprit in found.culprits if (culprit.module, culprit.kind) not in known]
            layers[stage.name] = found.layers
            unobserved += found.unobserved
        verdicts = [layer.verdict for rows in layers.values() for layer in rows]
        if culprits:
            verdicts.append(Verdict.DIVERGED)
        if unobserved:
            verdicts.append(Verdict.INCONCLUSIVE)
        return LocaliseReport(worst(verdicts), culprits, layers, unobserved)


def localise(
    pair: Pair,
    inputs: dict[str, Any],
    *,
    stages: Sequence[str] | None = None,
    streaming: bool = False,
    factor: float = FACTOR,
    progress: Callable[[str], None] = lambda message: None,
) -> LocaliseReport:
    """Find the modules of `pair.model` that compute something else than the reference does.

    Args:
        pair: both models; `pair.model` may have been changed since it was loaded.
        inputs: as for `parity.run.run`.
        stages: names; None for all.
        streaming: with the chunk masks of streaming synthesis.
        factor: allowed error in noise floors.
        progress: told what is going on.
    """
    settings = Settings(streaming=streaming)
    capture = ReferenceCapture(pair, inputs, stages=stages, settings=settings, progress=progress)
    return capture.localise(pair, factor=factor, progress=progress)


class _Judge:
    """One stage of one MLX model against the captured reference."""

    def __init__(self, stage: Stage, pair: Pair, captured: _Captured, factor: float) -> None:
        self.stage, self.pair, self.captured, self.factor = stage, pair, captured, factor
        self.dtype = pair.dtype(stage.component)
        self.culprits: list[Culprit] = []
        self.layers: list[Layer] = []
        self.unobserved: list[str] = []
        self._seen: dict[tuple[str, str], Culprit] = {}

    def run(self, tape: Tape, settings: Settings) -> None:
        model = getattr(self.pair.model, self.stage.component) if self.stage.component else None
        if not hasattr(model, "named_modules"):
            self._judge_outputs(self.stage.run_model(model, self.captured.given, tape, settings))
            return
        wrong_weights = self._audit_weights(model)
        with observe_mlx(model, self.stage.component, self.stage.keep, self.captured.calls) as calls:
            outputs = self.stage.run_model(model, self.captured.given, tape, settings)
        for call in calls.entered:
            if call.caller not in wrong_weights:
                self._judge_arguments(call)
            self._judge_output(call, wrong_weights)
        seen, exempt = calls.by_key(), exempt_modules(self.pair, self.stage)
        for key, call in self.captured.calls.items():
            if key not in seen and call.path not in exempt:
                self.unobserved.append(f"{call.path} was not called by MLX")
        self._judge_outputs(outputs)

    def _blame(self, module: str, kind: str, place: str, evidence: str, layer: Layer | None = None) -> None:
        known = self._seen.get((module, kind))
        if known:
            known.evidence.append(evidence)
            return
        culprit = Culprit(module, kind, self.stage.name, place, [evidence], layer)
        self._seen[(module, kind)] = culprit
        self.culprits.append(culprit)

    def _audit_weights(self, model: Any) -> set[str]:
        """Hold every MLX tensor against the official one; returns the paths of modules with a wrong one."""
        official = self.pair.reference.official_tensor(self.stage.component)
        actual: dict[str, mx.array] = dict(tree_flatten(model.parameters()))  # type: ignore[arg-type]
        wrong = set()
        for converted in from_official(model, official, self.stage.component):
            module, _, parameter = f"{self.stage.component}.{converted.name}".rpartition(".")
            mine = actual[converted.name]
            expected = np.array(mx.array(np.asarray(converted.array, np.float32)).astype(mine.dtype).astype(mx.float32))
            found = np.array(mine.astype(mx.float32))
            if found.shape == expected.shape and np.allclose(found, expected, rtol=1e-5, atol=1e-7):
                continue
            wrong.add(module)
            largest = np.abs(found - expected).max() if found.shape == expected.shape else np.inf
            self._blame(
                module, "weights", module, f"`{parameter}` differs from the official tensor by up to {largest:.3g}"
            )
        return wrong

    def _judge_arguments(self, call: Call) -> None:
        expected = self.captured.calls.get((call.path, call.index))
        exact = self.captured.exact.get((call.path, call.index))
        if expected is None or exact is None:
            if call.children == 0 and self.captured.calls:
                self.unobserved.append(f"{call.path} (call {call.index}) was not called by the reference")
            return
        for name, value in call.arguments.items():
            if name not in expected.arguments:
                continue
            problem = self._differs(name, value, expected.arguments[name], exact.arguments[name])
            if problem:
                label = "its input" if name == INPUT else f"its argument `{name}`"
                place = f"{call.path} was called with a wrong value (call {call.index}): {label} {problem}"
                self._blame(call.caller, "glue", call.path, place)

    def _differs(self, name: str, actual: Value, expected: Value, exact: Value) -> str:
        """What is wrong with a value, or nothing."""
        if actual is OPAQUE or expected is OPAQUE:
            return ""
        if isinstance(expected, tuple) and isinstance(actual, tuple) and len(actual) == len(expected):
            problems = [self._differs(name, *items) for items in zip(actual, expected, exact, strict=True)]
            return next(filter(None, problems), "")
        if isinstance(expected, np.ndarray) and isinstance(actual, np.ndarray):
            return self._array_differs(name, actual, expected, exact)
        if isinstance(expected, np.ndarray) or isinstance(actual, np.ndarray):
            return f"is {_describe(actual)}, the reference's is {_describe(expected)}"
        if actual == expected:
            return ""
        return f"is {actual!r}, the reference's is {expected!r}"

    def _array_differs(self, name: str, actual: np.ndarray, expected: np.ndarray, exact: Value) -> str:
        if expected.dtype == bool or actual.dtype == bool:
            actual, expected = (np.squeeze(_allowed(mask)) for mask in (actual, expected))
            if actual.shape != expected.shape:
                return f"has shape {list(actual.shape)}, the reference's {list(expected.shape)}"
            count = int((actual != expected).sum())
            return f"differs in {count} of {expected.size} places" if count else ""
        if not np.issubdtype(expected.dtype, np.floating):
            return "" if np.array_equal(actual, expected) else "holds other numbers"
        values = (np.squeeze(value) for value in (actual, expected, exact))  # sides may broadcast over other axes
        layer = judge(name, "argument", *values, dtype=self.dtype, factor=self.factor)
        return "" if layer.verdict is Verdict.PASS else f"is wrong: {_evidence(layer)}"

    def _judge_output(self, call: Call, wrong_weights: set[str]) -> None:
        key = (call.path, call.index)
        expected, exact = self.captured.calls.get(key), self.captured.exact.get(key)
        if expected is None or exact is None:
            return
        arrays = [_first_array(c.output) for c in (call, expected, exact)]
        if arrays[1] is None or not np.issubdtype(arrays[1].dtype, np.floating):
            return
        path = call.path if call.index == 0 else f"{call.path}#{call.index}"
        layer = judge(path, "glue" if call.children else "leaf", *arrays, dtype=self.dtype, factor=self.factor)
        self.layers.append(layer)
        if layer.verdict is Verdict.DIVERGED and call.path not in wrong_weights:
            kind = "glue" if call.children else "leaf"
            self._blame(call.path, kind, call.path, f"on the reference's own input: {_evidence(layer)}", layer)

    def _judge_outputs(self, outputs: Outputs) -> None:
        """What the stage's own code makes of its modules' outputs, all of which were replaced by right ones."""
        expected, exact = self.captured.outputs, self.captured.exact_outputs
        root = self.stage.component or self.stage.name
        for name, value in expected.tensors.items():
            layer = judge(
                name, "output", outputs.tensors.get(name), value, exact.tensors[name], self.dtype, self.factor
            )
            self.layers.append(layer)
            if layer.verdict is Verdict.DIVERGED:
                module = root if self.stage.component else f"{root}.{name}"
                self._blame(module, "glue", module, f"output `{name}`: {_evidence(layer)}", layer)
        for name, tokens in expected.tokens.items():
            mine = outputs.tokens.get(name)
            if mine is None or mine.shape != tokens.shape or not np.array_equal(mine, tokens):
                self._blame(root, "glue", root, f"output `{name}`: other tokens than the reference's")


def _first_array(output: Value) -> np.ndarray | None:
    if isinstance(output, tuple):
        output = output[0] if output else None
    return output if isinstance(output, np.ndarray) else None


def _allowed(mask: np.ndarray) -> np.ndarray:
    """Which places a mask lets through, whether it is boolean or added to the scores."""
    return mask if mask.dtype == bool else mask > -1e4


def _describe(value: Value) -> str:
    return f"a tensor of shape {list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)


def _evidence(layer: Layer) -> str:
    if layer.difference is None or layer.reason:
        return layer.reason
    d = layer.difference
    return (
        f"{layer.ratio:.3g} noise floors off, max abs {d.max_abs:.3g}, SNR {d.snr_db:.1f} dB, "
        f"mean {d.mean:.4g} against {d.mean_reference:.4g}, std {d.std:.4g} against {d.std_reference:.4g}"
    )
