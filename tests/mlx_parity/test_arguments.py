"""Who hands a wrong value to a module is blamed for it, also where that calls its arguments otherwise than its twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
import torch

from mlx_parity import Verdict, check
from mlx_parity.findings import RunReport

WIDTH, WINDOW = 8, 4
X, AUDIO = (
    np.random.default_rng(at).standard_normal((1, time, WIDTH)).astype(np.float32) for at, time in enumerate((9, 14))
)


class TorchMix(torch.nn.Module):
    """Averages over what an additive mask lets through, after a projection of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.value = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor, encoder_states: torch.Tensor) -> torch.Tensor:
        return (attention_mask[0, 0].softmax(-1) @ self.value(x)) + self.value(encoder_states).mean(1)[:, None]


class TorchModel(torch.nn.Module):
    """Layers with a sliding window; all of them read the audio."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([TorchMix(), TorchMix()])

    def forward(self, x: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        ago = torch.arange(x.shape[1])[:, None] - torch.arange(x.shape[1])
        mask = torch.zeros(ago.shape, dtype=x.dtype)
        mask = mask.masked_fill((ago < 0) | (ago >= WINDOW), torch.finfo(x.dtype).min)
        for layer in self.layers:
            x = x + layer(x, attention_mask=mask[None, None], encoder_states=audio)
        return x


def window(length: int, size: int = WINDOW) -> mx.array:
    ago = mx.arange(length)[:, None] - mx.arange(length)
    return (ago >= 0) & (ago < size)


class Mix(nn.Module):
    """The same with a mask of booleans, or a word that stands for one."""

    def __init__(self, sees_all: bool) -> None:
        super().__init__()
        self.value, self._sees_all = nn.Linear(WIDTH, WIDTH), sees_all

    def __call__(self, x: mx.array, mask: Any, xa: mx.array) -> mx.array:
        seen = mx.ones((x.shape[1],) * 2, mx.bool_) if mask is None or self._sees_all else mask
        seen = window(x.shape[1], 99) if isinstance(seen, str) else seen
        weights = mx.softmax(mx.where(seen, 0.0, -mx.inf), axis=-1)
        return weights @ self.value(x) + self.value(xa).mean(1)[:, None]


class Model(nn.Module):
    def __init__(
        self, mask: Callable[[int], Any] = window, audio: Any = lambda x, xa: xa, sees_all: bool = False
    ) -> None:
        super().__init__()
        self.layers = [Mix(sees_all), Mix(sees_all)]
        self._mask, self._audio = mask, audio

    def __call__(self, x: mx.array, audio: mx.array) -> mx.array:
        for layer in self.layers:
            x = x + layer(x, self._mask(x.shape[1]), self._audio(x, audio))
        return x


def judged(**options: Any) -> RunReport:
    torch.manual_seed(0)
    original, port = TorchModel().eval(), Model(**options)
    port.load_weights([(name, mx.array(tensor.numpy())) for name, tensor in original.state_dict().items()])
    return check(original, port, (X, AUDIO))


def test_a_right_port_passes() -> None:
    assert judged().verdict is Verdict.PASS


@pytest.mark.parametrize(
    "mask",
    [lambda length: window(length, WINDOW - 1), lambda length: "causal", lambda length: None],
    ids=["shorter", "a word", "none"],
)
def test_a_mask_is_blamed_on_who_makes_it(mask: Callable[[int], Any]) -> None:
    (culprit,) = judged(mask=mask).culprits
    assert (culprit.module, culprit.kind, culprit.place, culprit.argument) == ("model", "glue", "layers.0", "mask")


def test_how_much_a_mask_lets_through_is_said() -> None:
    (culprit,) = judged(mask=lambda length: window(length, WINDOW - 1)).culprits
    assert "`mask` differs in 6 of 81 places, at the end it lets 3 through, the reference's 4" in culprit.evidence[0]


def test_states_are_blamed_on_who_hands_them_on() -> None:
    (culprit,) = judged(audio=lambda x, xa: x).culprits
    assert (culprit.module, culprit.place, culprit.argument) == ("model", "layers.0", "xa")
    assert judged(audio=lambda x, xa: xa[:, 1:]).culprits[0].module == "model"


def test_who_makes_nothing_of_a_right_mask_is_to_blame() -> None:
    report = judged(sees_all=True)
    assert [(culprit.module, culprit.kind) for culprit in report.culprits] == [
        (f"layers.{at}", "glue") for at in (0, 1)
    ]


def upsampled(convs: nn.Sequential, trimmed: int = 0) -> RunReport:
    """The report on two transposed convolutions, after each of which a port may cut off as much at either end."""
    torch.manual_seed(0)
    layers = [torch.nn.ConvTranspose1d(WIDTH, WIDTH, 4, stride=2, padding=1) for _ in range(2)]
    for layer, mine in zip(layers, convs.layers, strict=True):
        weight, bias = (tensor.detach().numpy() for tensor in layer.parameters())
        mine.update({"weight": mx.array(weight.transpose(1, 2, 0)), "bias": mx.array(bias)})

    class Port(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = convs.layers

        def __call__(self, x: mx.array) -> mx.array:
            for layer in self.layers:
                made = layer(x)
                x = made[:, trimmed : made.shape[1] - trimmed]
            return x

    def call(side: Any, given: Any) -> Any:
        return side.module(side.array(given["x"], channels_first=True))

    original = torch.nn.Sequential(*layers).eval()
    return check(original, Port(), {"x": X.swapaxes(1, 2)}, call=call, rename={r"layers\.": ""})


def transposed(**options: Any) -> Any:
    return nn.ConvTranspose1d(WIDTH, WIDTH, 4, **options)


@pytest.mark.parametrize("options", [{"padding": 0, "stride": 2}, {"padding": 1}])
def test_a_layer_that_returns_more_or_less_is_wrong(options: dict[str, int]) -> None:
    report = upsampled(nn.Sequential(transposed(**options), transposed(stride=2, padding=1)))
    assert [(culprit.module, culprit.kind) for culprit in report.culprits] == [("0", "leaf")]


def test_a_layer_may_return_more_if_that_is_cut_off() -> None:
    report = upsampled(nn.Sequential(transposed(stride=2), transposed(stride=2)), trimmed=1)
    assert (report.verdict, report.culprits) == (Verdict.PASS, [])
