"""What ports do otherwise without being wrong is not blamed, and what is wrong beside it still is."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import torch

from mlx_parity import Pipeline, Port, Verdict, check
from mlx_parity.findings import RunReport

WIDTH = 8


def named(report: RunReport) -> list[tuple[str, str]]:
    return [(culprit.module, culprit.kind) for culprit in report.culprits]


def time(length: int = 12) -> np.ndarray:
    """[1, length, WIDTH]."""
    return np.random.default_rng(0).standard_normal((1, length, WIDTH)).astype(np.float32)


def linear(layer: Any) -> nn.Linear:
    made = nn.Linear(WIDTH, WIDTH)
    made.update({"weight": mx.array(layer.weight.detach().numpy()), "bias": mx.array(layer.bias.detach().numpy())})
    return made


class Positions(torch.nn.Module):
    """Adds sines of the position, which it computes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.arange(x.shape[1], dtype=x.dtype)[:, None].sin()


class Placed(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.positions, self.out = Positions(), torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.positions(x))


class Table(nn.Module):
    """The same from a table."""

    def __init__(self, *, shift: int = 0, private: bool = False) -> None:
        super().__init__()
        self.name = "_table" if private else "table"
        self[self.name] = mx.sin(mx.arange(shift, shift + 20)[:, None])

    def __call__(self, x: mx.array) -> mx.array:
        return x + self[self.name][: x.shape[1]]


class PlacedPort(nn.Module):
    def __init__(self, out: nn.Linear, **options: Any) -> None:
        super().__init__()
        self.positions, self.out = Table(**options), out

    def __call__(self, x: mx.array) -> mx.array:
        return self.out(self.positions(x))


def test_a_table_in_place_of_what_is_computed_is_judged_by_what_it_does() -> None:
    model = Placed().eval()
    for private in (False, True):
        report = check(model, PlacedPort(linear(model.out), private=private), time())
        assert (report.verdict, named(report)) == (Verdict.PASS, [])
        report = check(model, PlacedPort(linear(model.out), private=private, shift=1), time())
        assert named(report) == [("positions", "leaf")]


def test_a_weight_that_a_converter_computes_may_be_rounded_otherwise() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH)).eval()
    for factor, right in ((1 + 2.0**-22, True), (1 + 2.0**-18, False)):
        layer = linear(model[0])
        layer.weight = layer.weight * factor
        report = check(model, nn.Sequential(layer), time(), rename={r"layers\.": ""})
        assert named(report) == ([] if right else [("0", "weights")]), factor


class Wrapped(torch.nn.Module):
    """Its layers are in sequences, whose names a port gives to the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Mish()) for _ in "ab")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


class Bare(nn.Module):
    def __init__(self, model: Wrapped, last: Any = nn.mish) -> None:
        super().__init__()
        self.first, self.second, self._last = linear(model.first[0]), linear(model.second[0]), last

    def __call__(self, x: mx.array) -> mx.array:
        return self._last(self.second(nn.mish(self.first(x))))


def test_a_layer_that_bears_the_name_of_what_is_around_it_is_paired_by_its_weights() -> None:
    model = Wrapped().eval()
    report = check(model, Bare(model), time())
    assert (report.verdict, named(report)) == (Verdict.PASS, [])
    assert {"first.0", "second.0"} <= {layer.path for layer in report.stages[0].layers}
    assert named(check(model, Bare(model, nn.silu), time())) == [("model", "glue")]


class Masked(torch.nn.Module):
    """Hands a mask to its part, [length, length] or none."""

    def __init__(self, windowed: bool) -> None:
        super().__init__()
        self.windowed, self.mix, self.out = windowed, Mix(torch), torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril() if self.windowed else None
        return self.out(self.mix(x, mask))


def Mix(framework: Any) -> Any:  # noqa: N802
    """A part of either framework that averages over what the mask lets through."""

    def forward(self: Any, x: Any, mask: Any = None) -> Any:
        if mask is None:
            return x + framework.mean(x, 1)[:, None]
        mask = mask.to(x.dtype) if framework is torch else mask[:, :, :].astype(x.dtype)  # which has a batch
        return x + mask @ x / mask.sum(-1)[..., None]

    base = torch.nn.Module if framework is torch else nn.Module
    return type("Mix", (base,), {"forward": forward, "__call__": base.__call__ if framework is torch else forward})()


class MaskedPort(nn.Module):
    """Makes a mask for every entry of the batch, also where it lets all through."""

    def __init__(self, model: Masked, windowed: bool) -> None:
        super().__init__()
        self.windowed, self.mix, self.out = windowed, Mix(mx), linear(model.out)

    def __call__(self, x: mx.array) -> mx.array:
        mask = mx.ones((x.shape[1], x.shape[1]))
        mask = (mx.tril(mask) if self.windowed else mask) > 0
        return self.out(self.mix(x, mx.broadcast_to(mask, (x.shape[0], *mask.shape))))


def test_masks_are_compared_by_what_they_let_through() -> None:
    batch = np.concatenate([time(), -time()])
    for windowed in (False, True):
        model = Masked(windowed).eval()
        report = check(model, MaskedPort(model, windowed), batch)
        assert (report.verdict, report.stages[0].unpaired) == (Verdict.PASS, [])
        report = check(model, MaskedPort(model, not windowed), batch)
        assert named(report) == [("model", "glue")]
        assert "`mask`" in report.culprits[0].evidence[0]


class Ahead(torch.nn.Module):
    """Leaves the last positions out before `mean`; `out` comes after it."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.out = torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.mean(x[:, :-3]))


class AheadPort(nn.Module):
    """Leaves them out after it, as many or one more."""

    def __init__(self, model: Ahead, shift: int = 0) -> None:
        super().__init__()
        self.mean, self.out, self.shift = linear(model.mean), linear(model.out), shift

    def __call__(self, x: mx.array) -> mx.array:
        return self.out(mx.roll(self.mean(x), self.shift, 1)[:, :-3])


class Telling(nn.Module):
    """A layer that also returns what the reference's keeps for itself. Its result is rounded otherwise."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self._layer = linear(layer)
        self.weight, self.bias = self._layer.weight, self._layer.bias

    def __call__(self, x: mx.array) -> tuple[mx.array, mx.array]:
        made = self._layer(x)
        return made * (1 + 2.0**-21), made


class TellingPort(nn.Module):
    def __init__(self, model: torch.nn.Sequential) -> None:
        super().__init__()
        self.layers = [Telling(model[0]), linear(model[1])]

    def __call__(self, x: mx.array) -> mx.array:
        return self.layers[1](self.layers[0](x)[0])


def test_the_first_of_several_results_is_what_goes_on() -> None:
    """In isolation the next module gets the reference's, also where the port returns more than that."""
    model = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH)).eval()
    report = check(model, TellingPort(model), time(), rename={r"layers\.": ""}, factor=1.0)
    assert ("model", "glue") not in named(report)


def test_a_module_that_is_called_for_more_is_listed_and_what_follows_is_compared() -> None:
    model = Ahead().eval()
    report = check(model, AheadPort(model), time())
    assert report.verdict is Verdict.PASS
    assert report.stages[0].unpaired == ["mean: called with an array of shape [1, 12, 8], its namesake [1, 9, 8]"]
    report = check(model, AheadPort(model, shift=1), time())
    assert [(culprit.module, culprit.kind, culprit.place) for culprit in report.culprits] == [("model", "glue", "out")]


def test_modules_of_one_name_in_two_networks_are_two_culprits() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH)).eval()
    layer = linear(model[0])
    layer.weight = layer.weight * 2
    names = ("encoder", "decoder")
    ports = [Port(name, model, nn.Sequential(layer), needs=("x",), rename={r"layers\.": ""}) for name in names]
    report = Pipeline(ports).run({"x": time()})
    assert [(culprit.stage, culprit.module) for culprit in report.culprits] == [("encoder", "0"), ("decoder", "0")]


class Gated(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.mix, self.out = Half(), torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.mix(self.gate(x)))


class Half(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x / 2)


class GatedPort(nn.Module):
    """What goes into the layer of its gate is not halved, and what goes into its last layer is."""

    def __init__(self, model: Gated) -> None:
        super().__init__()
        self.gate, self.mix, self.out = Whole(linear(model.gate.layer)), linear(model.mix), linear(model.out)

    def __call__(self, x: mx.array) -> mx.array:
        return self.out(self.mix(self.gate(x)) / 2)


class Whole(nn.Module):
    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def __call__(self, x: mx.array) -> mx.array:
        return self.layer(x)


def test_what_is_wrong_in_a_part_is_not_taken_for_what_is_wrong_around_it() -> None:
    model = Gated().eval()
    assert named(check(model, GatedPort(model), time())) == [("gate", "glue"), ("model", "glue")]
