"""What a run found: by stage, by layer, and who is to blame. Made by `mlx_parity.examination`, read by reports."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from mlx_parity.compare import Layer, Verdict, worst

#: What is wrong with a culprit.
KINDS = ("config", "tokenizer", "weights", "leaf", "glue")


@dataclass
class Culprit:
    """A module that computes something else than its twin in the reference.

    `kind`: "config" and "tokenizer" (a field or an entry of a file, which `module` names then), "weights" (a parameter
    differs from the reference's), "leaf" (a module without parts is wrong on right input), or "glue" (its parts are
    right, what it does between them is not: a mask, an order, a scale, a missing activation). `place` is the call at
    which it shows: its own path, or that of the child that was called with a wrong argument, `argument` then being that
    one's name. It is `inferred` if every module is right by itself, and yet errors add up to more than they may.
    `within` are the networks of a loop that raised: a culprit there explains it. `cause` is what brings its error back
    to the floor when it is tried, in words; "" where none of the usual suspects does.
    """

    module: str
    kind: str
    stage: str
    place: str
    evidence: list[str] = field(default_factory=list)
    layer: Layer | None = None
    argument: str = ""
    inferred: bool = False
    within: tuple[str, ...] = ()
    cause: str = ""

    def explained(self, sure: Set[str]) -> bool:
        """Whether it is there because of one of these modules."""
        inside = [*([self.module] if self.inferred else []), *self.within]
        others = sure if self.inferred else sure - {self.module}
        return any(f"{module}.".startswith(f"{network}.") for module in others for network in inside)


@dataclass
class StageReport:
    """One stage, looked at twice.

    `outputs` and `layers` are of a free run, in which errors add up as they do in use; `isolated` are of a run in which
    every module was fed with the reference's own inputs, so that each shows its own error only. `culprits` are in
    data-flow order; `unobserved` lists what kept the stage from a pass, `unpaired` the
    modules without a twin, which are judged as parts of those around them.
    """

    name: str
    title: str
    dtype: str
    outputs: list[Layer] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    isolated: list[Layer] = field(default_factory=list)
    culprits: list[Culprit] = field(default_factory=list)
    unobserved: list[str] = field(default_factory=list)
    exempt: dict[str, str] = field(default_factory=dict)
    unpaired: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    seconds_reference: float = 0.0
    seconds_model: float = 0.0
    arrays: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    measures: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The worst of all that was seen; a culprit diverges, what was not observed is inconclusive."""
        verdicts = [layer.verdict for layer in (*self.layers, *self.outputs, *self.isolated)]
        verdicts += [Verdict.DIVERGED] if self.culprits else []
        verdicts += [Verdict.INCONCLUSIVE] if self.unobserved else []
        return worst(verdicts)

    @property
    def tally(self) -> tuple[str, float | None]:
        """How many of the layers passed, and the largest error in floors of those that have one."""
        rows = self.layers + self.outputs
        passed = sum(layer.verdict is Verdict.PASS for layer in rows)
        ratios = (layer.ratio for layer in rows if layer.difference is not None)
        return f"{passed}/{len(rows)}", max(ratios, default=None)

    @property
    def worst_layer(self) -> Layer | None:
        """The layer that fails first in data-flow order, else the one with the largest error over floor."""
        layers = self.layers + self.outputs
        failed = [layer for layer in layers if layer.verdict is not Verdict.PASS]
        return failed[0] if failed else max(layers, key=lambda layer: layer.ratio, default=None)


@dataclass
class RunReport:
    """A whole run. The `layers` of `audits` are tensors and fields of what is stored, beside the reference's.

    `settings` are what its stages were handed.
    """

    stages: list[StageReport]
    settings: Any = None
    audits: list[StageReport] = field(default_factory=list)
    #: Whether stages may call modules alike that are others, as an encoder and a decoder do.
    apart: bool = field(default=False, kw_only=True)

    #: What reports call the two sides.
    names: ClassVar[tuple[str, str]] = ("reference", "port")

    @property
    def mode(self) -> str:
        """What reports call the way in which the stages ran; "" where there is one alone."""
        return ""

    def asked(self) -> dict[str, Any]:
        """What was asked for, as plain data by name."""
        return {}

    def lines(self, stage: StageReport) -> list[str]:
        """What else a person wants to know of a stage."""
        return stage.remarks

    def notes(self) -> list[str]:
        """What else a person wants to know of the run."""
        return []

    @property
    def parts(self) -> list[StageReport]:
        """The audits, then the stages."""
        return self.audits + self.stages

    @property
    def verdict(self) -> Verdict:
        return worst([part.verdict for part in self.parts])

    @property
    def culprits(self) -> list[Culprit]:
        """Those of the audits, then in data-flow order, without those that another stage's culprits explain."""
        every = [culprit for part in self.parts for culprit in part.culprits]
        # two stages may share a component, whose constants are audited in both
        first = {(self._network(culprit), culprit.module, culprit.kind): culprit for culprit in reversed(every)}
        sure = {(self._network(culprit), culprit.module) for culprit in every if not culprit.inferred}
        return [
            culprit
            for (network, _, _), culprit in reversed(first.items())
            if not culprit.explained({module for where, module in sure if where == network})
        ]

    def _network(self, culprit: Culprit) -> str:
        """Within what its module's name is unique."""
        return culprit.stage if self.apart else ""

    @property
    def unobserved(self) -> list[str]:
        return [line for stage in self.stages for line in stage.unobserved]


#: What PyTorch calls the parts that compute a module's parameter, which are no modules of the network.
PARAMETRIZED = ".parametrizations."


def culprits_of(layers: Iterable[Layer], stage: str) -> list[Culprit]:
    """The modules that own wrong parameters, and whatever else is wrong by its own name.

    Args:
        layers: of an audit; those of type "weights" bear the path of a parameter.
        stage: that the culprits belong to.
    """
    culprits: dict[str, Culprit] = {}
    for layer in layers:
        if layer.verdict is not Verdict.PASS:
            module, _, parameter = layer.path.rpartition(".")
            module = module.partition(PARAMETRIZED)[0]
            if layer.type != "weights":
                module, parameter = layer.path, ""
            known = culprits.setdefault(module, Culprit(module, layer.type, stage, module, layer=layer))
            known.evidence.append(f"`{parameter}` {layer.reason}" if parameter else layer.reason)
    return list(culprits.values())
