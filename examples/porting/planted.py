"""Plant faults into copies of public ports, and see whether they are found and named.

    pip install '.[zoo]' && pip install --no-deps mlx-whisper==0.4.3
    python examples/porting/planted.py                              # all, with and without faults
    python examples/porting/planted.py gqa-order phi --json FILE    # a fault and all of a port; more in FILE

The ports are mlx-lm's llama, gemma3_text, phi and mixtral, and mlx-whisper; examples/porting/faults/ says what is
planted, and where it must be named. Each original runs once; a port is compared with what was captured of it. Exit
status: 0 if no healthy port has a culprit, every fault is found, and nine of ten are named exactly; else 1.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

PORTING = Path(__file__).resolve().parent
sys.path.insert(0, str(PORTING.parents[1]))  # for `examples`, also where this runs as a script

import transformers

from examples.porting.bare_packages import pass_by_init
from examples.porting.faults import PORTS, Fault, in_place_of
from examples.porting.mlx_lm_zoo import VOCABULARY, read
from examples.porting.zoo.build import build
from examples.porting.zoo.decode import token_ids
from mlx_parity import Culprit, Pipeline, Port, RunReport, Verdict
from mlx_parity.port_file import load_port_file
from mlx_parity.report.culprits import alike, culprit_to_dict

#: The share of the faults that must be named exactly.
NAMED = 0.9

#: How a fault is named: as is expected; at a module around that; otherwise, or not at all.
EXACT, PARENT, NO = "exact", "parent", "no"


@dataclass(frozen=True)
class Tried:
    """A port with a fault, or without one, and what the report says of it."""

    architecture: str
    fault: Fault | None
    report: RunReport

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
        modules = [self._parts(self.path_of(culprit)) for culprit in self.report.culprits]
        hits = [
            [_within(module, pattern) and len(module) == len(pattern) for pattern in patterns] for module in modules
        ]
        if not modules or not all(any(_within(one, pattern) for pattern in patterns) for one in modules):
            return NO
        if not all(map(any, hits)):
            return PARENT
        return EXACT if all(map(any, zip(*hits, strict=True))) else NO

    def path_of(self, culprit: Culprit) -> str:
        """A culprit's module as faults call it."""
        if self.architecture == culprit.stage:
            return culprit.module
        return culprit.stage if culprit.module == culprit.stage else f"{culprit.stage}/{culprit.module}"

    def _parts(self, path: str) -> list[str]:
        """The names in a path; none of the outermost module of a port that is one stage."""
        return [] if path == self.architecture else re.split(r"[./]", path)

    def culprits(self) -> list[str]:
        """Who is named, in words: those that differ in the number of their layer alone at once."""
        said = []
        for group in alike(self.report.culprits):
            culprit = group[0]
            also = f", and {len(group) - 1} like it" if len(group) > 1 else ""
            before = f", before {culprit.place}" if culprit.place != culprit.module else ""
            said.append(f"{self.path_of(culprit)}, {culprit.kind}{before}{also}")
        return said

    @property
    def cause(self) -> str:
        return next((culprit.cause for culprit in self.report.culprits if culprit.cause), "")

    def to_dict(self) -> dict[str, Any]:
        found = {"architecture": self.architecture, "verdict": self.report.verdict.value, "cause": self.cause}
        if self.fault:
            found |= {"mistake": self.fault.mistake, "expected": self.fault.expected, "named": self.named}
        return {**found, "culprits": [{**culprit_to_dict(one)} for one in self.report.culprits]}


def _within(module: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a module is one that a pattern stands for, or around one."""
    return len(module) <= len(pattern) and all(map(fnmatchcase, module, pattern))


def stages_of(architecture: str) -> tuple[Pipeline, Mapping[str, Any]]:
    """The port as it is imported now, beside its original, and what both are called with."""
    if architecture == "whisper":
        file = load_port_file(PORTING / "whisper.py")
        return file.pipeline, file.inputs
    pair = build(architecture)
    stage = Port(architecture, pair.torch_model, pair.mlx_model, read, needs=("ids",))
    return Pipeline([stage]), {"ids": token_ids(VOCABULARY)}


def tried(architecture: str, faults: Sequence[Fault]) -> Iterator[Tried]:
    """A port without a fault, and then with each of them.

    Raises:
        ModuleNotFoundError: the port is not installed.
        EditError: its source is not the one that the faults are made for.
    """
    port = PORTS[architecture]
    if architecture == "whisper":
        pass_by_init("mlx_whisper", "pip install --no-deps mlx-whisper==0.4.3")
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        for fault in (None, *faults):
            with in_place_of(port.module, (*port.mended, *(fault.edits if fault else ()))):
                pipeline, inputs = stages_of(architecture)
                if fault is None:
                    pipeline.capture(Path(folder), inputs)
                yield Tried(architecture, fault, pipeline.compare(Path(folder)))


def chosen(names: Sequence[str]) -> dict[str, list[Fault]]:
    """Port -> those of its faults that are meant by their names or by the port's; no names: all.

    Raises:
        ValueError: a name that is neither.
    """
    every = {name: [*port.faults, *port.later] for name, port in PORTS.items()}
    known = {*every, *(fault.name for faults in every.values() for fault in faults)}
    if unknown := sorted(set(names) - known):
        raise ValueError(f"no such fault or port: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    wanted = {name: [one for one in every[name] if not names or {name, one.name} & set(names)] for name in every}
    return {name: faults for name, faults in wanted.items() if faults}


def accepted(every: Sequence[Tried]) -> bool:
    """Whether no healthy port has a culprit, every fault is found, and enough of them are named exactly."""
    faulty = [one for one in every if one.fault]
    exact = sum(one.named == EXACT for one in faulty)
    healthy = all(one.healthy for one in every if not one.fault)
    return healthy and all(one.found for one in faulty) and exact >= NAMED * len(faulty)


def counted(every: Sequence[Tried]) -> str:
    """The counts in one line."""
    faulty, healthy = [one for one in every if one.fault], [one for one in every if not one.fault]
    named = Counter(one.named for one in faulty)
    return (
        f"{len(faulty)} faults: {sum(one.found for one in faulty)} found, {named[EXACT]} named exactly, "
        f"{named[PARENT]} at a module around, {named[NO]} not; "
        f"{sum(one.healthy for one in healthy)} of {len(healthy)} healthy ports pass without a culprit"
    )


def row(one: Tried) -> str:
    """A line of the table on the terminal."""
    named = "; ".join(one.culprits()) or "-"
    if one.fault is None:
        return f"{one.architecture:<12} {'-':<26} {one.report.verdict.value:<6} {'-':<6} {named}"
    cause = f"  ({one.cause})" if one.cause else ""
    return (
        f"{one.architecture:<12} {one.fault.name:<26} {'yes' if one.found else 'no':<6} {one.named:<6} {named}{cause}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a fault, or of a port; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found here")
    args = parser.parse_args()
    try:
        wanted = chosen(args.names)
    except ValueError as error:
        parser.error(str(error))
    transformers.utils.logging.disable_progress_bar()
    every: list[Tried] = []
    print(f"{'port':<12} {'fault':<26} {'found':<6} {'named':<6} who is named, and the probable cause")
    for architecture, faults in wanted.items():
        for one in tried(architecture, faults):
            every.append(one)
            print(row(one), flush=True)
    print(f"\n{counted(every)}")
    if args.json:
        args.json.write_text(json.dumps({_key(one): one.to_dict() for one in every}, indent=1) + "\n")
    return 0 if accepted(every) else 1


def _key(one: Tried) -> str:
    return one.fault.name if one.fault else one.architecture


if __name__ == "__main__":
    sys.exit(main())
