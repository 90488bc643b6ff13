"""Two implementations in PyTorch, as a rewrite beside the code that it is of."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mlx_parity import Pipeline, Port, Verdict, check
from mlx_parity.findings import RunReport
from mlx_parity.sides import side_of

WIDTH = 8


def named(report: RunReport) -> list[tuple[str, str]]:
    return [(culprit.module, culprit.kind) for culprit in report.culprits]


def values(length: int = 12) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, length, WIDTH)).astype(np.float32)


def same_weights(reference: nn.Module, port: nn.Module) -> nn.Module:
    port.load_state_dict(reference.state_dict())
    return port.eval()


class Mix(nn.Module):
    """Mixes positions. `context` comes behind them; a mask is [length, length] with whatever axes before."""

    def __init__(self, shift: int = 0) -> None:
        super().__init__()
        self.project, self.shift = nn.Linear(WIDTH, WIDTH), shift

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        scores = x @ self.project(x).mT
        if mask is not None:
            scores = scores.masked_fill(~mask.roll(self.shift, -1), -torch.inf)
        return scores.softmax(-1) @ x


class TakesTensors(Mix):
    """The same of code that has an empty tensor and a mask of ones where another has None."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor, context: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        assert mask.shape == (1, 1, x.shape[1], x.shape[1])
        assert context.shape[1] == 0
        return super().forward(x, mask[:, 0])


class Precise(nn.Module):
    """Computes in float64, from and (but for `wide`) to what its caller works in."""

    def __init__(self, wide: bool) -> None:
        super().__init__()
        self.layers, self.wide = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)), wide
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layers(x.double())
        return y if self.wide else y.to(x.dtype)


class Net(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.first, self.mix, self.last, self.causal = nn.Linear(WIDTH, WIDTH), Mix(), nn.Linear(WIDTH, WIDTH), causal
        self.precise = Precise(wide=False)

    def mask(self, length: int) -> torch.Tensor:
        every = torch.ones(length, length, dtype=torch.bool)
        return every.tril() if self.causal else every

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.mix(x + self.first(x), self.mask(x.shape[1]) if self.causal else None)
        return self.last(self.precise(x))


class InPlace(Net):
    def __init__(self, causal: bool, shift: int = 0) -> None:
        super().__init__(causal)
        self.mix, self.precise = TakesTensors(shift), Precise(wide=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        hidden += x
        hidden = self.mix(hidden, self.mask(x.shape[1])[None, None], torch.zeros(1, 0, WIDTH))
        hidden = self.precise(hidden.double())
        hidden *= 1.0
        return self.last(hidden.to(x.dtype))


@pytest.mark.parametrize("causal", [False, True])
def test_code_that_works_in_place_and_passes_tensors_for_none_is_right(causal: bool) -> None:
    reference = Net(causal).eval()
    report = check(reference, same_weights(reference, InPlace(causal)), values())
    assert (report.verdict, named(report), report.stages[0].unpaired) == (Verdict.PASS, [], [])
    assert {"first", "mix.project", "precise", "precise.layers.1"} <= {
        layer.path for layer in report.stages[0].isolated
    }


def test_what_is_wrong_in_such_code_is_named() -> None:
    reference = Net(True).eval()
    report = check(reference, same_weights(reference, InPlace(True, shift=1)), values())
    assert named(report) == [("mix", "glue")]


class Session(nn.Module):
    """Another runtime's, which shows neither modules nor weights."""

    def __init__(self, model: nn.Module, factor: float) -> None:
        super().__init__()
        self.run = lambda x: factor * model(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(x)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.PASS), (1.01, Verdict.DIVERGED)])
def test_a_port_without_modules_is_judged_by_what_it_puts_out(factor: float, verdict: Verdict) -> None:
    reference = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()).eval()
    report = check(reference, Session(reference, factor), values())
    assert report.verdict is verdict
    assert report.audits == []
    assert report.stages[0].unpaired


def test_some_stages_of_a_pipeline_are_compared_on_what_the_others_give() -> None:
    reference = nn.Sequential(nn.Linear(WIDTH, WIDTH)).eval()
    ports = [
        Port(
            "first",
            reference,
            Session(reference, 2.0),
            lambda side, given: {"y": side.module(side.array(given["x"]))},
            needs=("x",),
            gives=("y",),
        ),
        Port("second", reference, reference, needs=("y",)),
    ]
    report = Pipeline(ports).run({"x": values()}, stages=["second"])
    assert [stage.name for stage in report.stages] == ["second"]
    assert report.verdict is Verdict.PASS


class Makers:
    """Two stages whose models functions make; `alive` says how many of the first one's are there as the second runs."""

    def __init__(self) -> None:
        self.alive, self._models = list[int](), list[weakref.ref[nn.Module]]()

    def pipeline(self) -> Pipeline:
        def first(side: Any, given: Any) -> Any:
            return {"y": side.module(side.array(given["x"]))}

        make = self._make
        return Pipeline(
            [
                Port("first", make, make, first, needs=("x",), gives=("y",)),
                Port("second", self._other, self._other, self._call, needs=("y",)),
            ]
        )

    def _make(self) -> nn.Module:
        model = self._other()
        self._models.append(weakref.ref(model))
        return model

    @staticmethod
    def _other() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(WIDTH, WIDTH)).eval()

    def _call(self, side: Any, given: Any) -> Any:
        self.alive.append(sum(model() is not None for model in self._models))
        return side.module(side.array(given["y"]))


@pytest.mark.parametrize("chosen", [None, ["second"]])
def test_models_that_functions_make_are_let_go_after_their_stage(chosen: list[str] | None) -> None:
    makers = Makers()
    for _ in range(2):
        assert makers.pipeline().run({"x": values()}, stages=chosen).verdict is Verdict.PASS
    assert makers.alive
    assert not any(makers.alive)


def test_ports_that_functions_make_are_let_go_where_the_reference_comes_from_a_capture(tmp_path: Path) -> None:
    makers = Makers()
    folder = makers.pipeline().capture(tmp_path / "capture", {"x": values()})
    makers.alive.clear()
    assert makers.pipeline().compare(folder).verdict is Verdict.PASS
    assert makers.alive
    assert not any(makers.alive)


def test_weights_are_looked_at_and_not_copied() -> None:
    layer = nn.Linear(3, 2)
    weight = side_of(layer).parameters(layer)["weight"]
    assert np.shares_memory(weight, layer.weight.detach().numpy())
