"""Whether a fault was found, and how well it was named."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from mlx_parity import Culprit, RunReport, Verdict
from mlx_parity.report.culprits import alike, culprit_to_dict

from .fault import Fault

#: The share of the faults that must be named exactly.
NAMED = 0.9

#: How a fault is named: as is expected; at a module around that; otherwise, or not at all.
EXACT, PARENT, NO = "exact", "parent", "no"


@dataclass(frozen=True)
class Trial:
    """A port with a fault, or without one, and what the report says of it."""

    architecture: str
    fault: Fault | None
    report: RunReport

    @property
    def name(self) -> str:
        return self.fault.name if self.fault else self.architecture

    @property
    def found(self) -> bool:
        return self.report.verdict is Verdict.DIVERGED

    @property
    def healthy(self) -> bool:
        return self.report.verdict is Verdict.PASS and not self.report.culprits

    @property
    def named(self) -> str:
        """Exact: all culprits are where one is expected, and there is one wherever one is."""
        patterns = [self._parts(pattern) for pattern in (self.fault.expected if self.fault else ())]
        modules = [self._parts(self._path(culprit)) for culprit in self.report.culprits]
        hits = [[_within(one, pattern) and len(one) == len(pattern) for pattern in patterns] for one in modules]
        if not modules or not all(any(_within(one, pattern) for pattern in patterns) for one in modules):
            return NO
        if not all(map(any, hits)):
            return PARENT
        return EXACT if all(map(any, zip(*hits, strict=True))) else NO

    @property
    def culprits(self) -> list[str]:
        """Who is named, in words: those that differ in the number of their layer alone at once."""
        said = []
        for group in alike(self.report.culprits):
            culprit = group[0]
            also = f", and {len(group) - 1} like it" if len(group) > 1 else ""
            before = f", before {culprit.place}" if culprit.place != culprit.module else ""
            said.append(f"{self._path(culprit)}, {culprit.kind}{before}{also}")
        return said

    @property
    def cause(self) -> str:
        return next((culprit.cause for culprit in self.report.culprits if culprit.cause), "")

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"architecture": self.architecture, "verdict": self.report.verdict.value}
        if self.fault:
            found |= {"mistake": self.fault.mistake, "expected": self.fault.expected, "named": self.named}
        return {**found, "cause": self.cause, "culprits": [culprit_to_dict(one) for one in self.report.culprits]}

    def _path(self, culprit: Culprit) -> str:
        """A culprit's module as faults call it."""
        if self.architecture == culprit.stage:
            return culprit.module
        return culprit.stage if culprit.module == culprit.stage else f"{culprit.stage}/{culprit.module}"

    def _parts(self, path: str) -> list[str]:
        """The names in a path; none of the outermost module of a port that is one stage."""
        return [] if path == self.architecture else re.split(r"[./]", path)


def _within(module: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a module is one that a pattern stands for, or around one."""
    return len(module) <= len(pattern) and all(map(fnmatchcase, module, pattern))


def accepted(trials: Sequence[Trial]) -> bool:
    """Whether no healthy port has a culprit, every fault is found, and enough of them are named exactly."""
    faulty = [one for one in trials if one.fault]
    exact = sum(one.named == EXACT for one in faulty)
    healthy = all(one.healthy for one in trials if not one.fault)
    return healthy and all(one.found for one in faulty) and exact >= NAMED * len(faulty)


def counted(trials: Sequence[Trial]) -> str:
    """The counts in one line."""
    faulty, healthy = [one for one in trials if one.fault], [one for one in trials if not one.fault]
    named = Counter(one.named for one in faulty)
    return (
        f"{len(faulty)} faults: {sum(one.found for one in faulty)} found, {named[EXACT]} named exactly, "
        f"{named[PARENT]} at a module around, {named[NO]} not; "
        f"{sum(one.healthy for one in healthy)} of {len(healthy)} healthy ports pass without a culprit"
    )
