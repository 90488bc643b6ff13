"""Tries the harness on itself: every fault is switched on, looked for, and switched off again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlx_parity.findings import Culprit
from parity.faults.base import Fault, NoPlaceError
from parity.findings import RunReport
from parity.pair import Pair
from parity.search import ReferenceCapture
from parity.stages import STAGES, Settings
from parity.stages.base import Streaming

#: Steps of the language model: enough for a mel of a few chunk borders together with the prompt, and quick.
LLM_STEPS = 12


@dataclass(frozen=True)
class Trial:
    """What the harness said of one fault. `expected` and `named` are module paths."""

    fault: Fault
    expected: frozenset[str]
    culprits: tuple[Culprit, ...]
    seconds: float

    @property
    def named(self) -> frozenset[str]:
        return frozenset(culprit.module for culprit in self.culprits)

    @property
    def found(self) -> bool:
        """Whether anything was reported at all."""
        return bool(self.culprits)

    @property
    def exact(self) -> bool:
        """Whether all modules that have the fault were named, as what they are, and no other was."""
        return self.named == self.expected and {culprit.kind for culprit in self.culprits} == {self.fault.kind}

    @property
    def reason(self) -> str:
        """Why it is not exact, or nothing."""
        if not self.found:
            return "no culprit was reported"
        parts = []
        if self.expected - self.named:
            parts.append(f"not named: {_few(self.expected - self.named)}")
        if self.named - self.expected:
            parts.append(f"named without fault: {_few(self.named - self.expected)}")
        kinds = sorted({culprit.kind for culprit in self.culprits} - {self.fault.kind})
        if kinds:
            parts.append(f"called {', '.join(kinds)} in place of {self.fault.kind}")
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        return {
            "fault": self.fault.name,
            "stage": self.fault.stage,
            "streaming": self.fault.streaming,
            "mistake": self.fault.mistake,
            "found": self.found,
            "exact": self.exact,
            "reason": self.reason,
            "expected": {"modules": sorted(self.expected), "kind": self.fault.kind},
            "named": [{"module": c.module, "kind": c.kind, "evidence": c.evidence[0]} for c in self.culprits],
            "seconds": round(self.seconds, 2),
        }


def _few(paths: frozenset[str]) -> str:
    shown = sorted(paths)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


class Bench:
    """The captured reference in both modes, and the model that faults are put into."""

    def __init__(
        self,
        pair: Pair,
        inputs: dict[str, Any],
        faults: Sequence[Fault],
        *,
        settings: Settings | None = None,
        progress: Callable[[str], None] = lambda message: None,
    ) -> None:
        """Run the reference where `faults` need it.

        Args:
            pair: both models; the MLX model must be as it was converted.
            inputs: as for `parity.run.run`.
            faults: what will be tried.
            settings: of every run, but for how speech is streamed; None for those of the command.
            progress: called with what is going on.
        """
        self.pair, self.progress = pair, progress
        settings = settings or Settings(llm_steps=LLM_STEPS)
        self.captures: dict[Streaming | None, ReferenceCapture] = {}
        for streaming in sorted({fault.streaming for fault in faults}, key=str):
            mode = streaming or "offline"
            self.captures[streaming] = ReferenceCapture(
                pair,
                inputs,
                stages=[s.name for s in STAGES if any(f.stage == s.name for f in faults if f.streaming == streaming)],
                settings=replace(settings, streaming=streaming),
                progress=lambda message, mode=mode: progress(f"{mode}: {message}"),  # type: ignore[misc]
            )

    def healthy(self) -> list[RunReport]:
        """What the harness says of the model as it is."""
        return [capture.localise(self.pair, progress=self.progress) for capture in self.captures.values()]

    def try_fault(self, fault: Fault) -> Trial:
        """Switch one fault on, look for it in its stage, and switch it off."""
        expected = frozenset(fault.expected_modules(self.pair))
        started = time.perf_counter()
        with fault.switch(self.pair):
            report = self.captures[fault.streaming].localise(self.pair, stages=[fault.stage])
        return Trial(fault, expected, tuple(report.culprits), time.perf_counter() - started)

    def try_all(self, faults: Sequence[Fault]) -> Iterator[Trial]:
        """Try the faults one after the other, but for those that the model has no place for, as a small one may."""
        for fault in faults:
            self.progress(fault.name)
            try:
                yield self.try_fault(fault)
            except NoPlaceError:
                continue
