"""A port whose weights are packed is judged by its code: what packing costs is meant, what packs wrongly is not."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
import torch

from mlx_parity import RunReport, Verdict, check

X = np.random.default_rng(0).standard_normal((2, 5, 64)).astype(np.float32)


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(64, 128), nn.Linear(128, 64)
        self.activation = nn.gelu

    def __call__(self, x: mx.array) -> mx.array:
        return x + self.down(self.activation(self.up(x)))


class TorchWide(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = torch.nn.Linear(64, 128), torch.nn.Linear(128, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.nn.functional.gelu(self.up(x)))


def models(bits: int = 4) -> tuple[TorchWide, Wide, Wide]:
    """The original, its port, and that one with packed weights."""
    torch.manual_seed(0)
    original = TorchWide().eval()
    plain, packed = Wide(), Wide()
    for port in (plain, packed):
        port.load_weights([(name, mx.array(one.numpy())) for name, one in original.state_dict().items()])
    nn.quantize(packed, group_size=32, bits=bits)
    return original, plain, packed


def named(report: RunReport) -> list[tuple[str, str]]:
    return [(culprit.module, culprit.kind) for culprit in report.culprits]


@pytest.mark.parametrize("bits", [4, 8])
def test_packed_weights_pass_beside_either_framework(bits: int) -> None:
    original, plain, packed = models(bits)
    assert check(original, packed, X).verdict is Verdict.PASS
    assert check(plain, packed, X).verdict is Verdict.PASS


def test_the_code_of_a_packed_model_is_judged() -> None:
    original, _, packed = models()
    packed.activation = nn.gelu_approx
    assert named(check(original, packed, X)) == [("model", "glue")]


def test_a_scale_that_is_wrong_is_named() -> None:
    original, _, packed = models()
    packed.up.scales = packed.up.scales * 1.02
    assert named(check(original, packed, X)) == [("up", "weights")]


def test_scales_that_a_loader_has_widened_are_right() -> None:
    _, plain, packed = models()
    for name in ("up", "down"):
        weight = getattr(plain, name).weight.astype(mx.float16)
        parts = mx.quantize(weight, group_size=32, bits=4)
        packed[name].weight, packed[name].scales, packed[name].biases = (
            parts[0],
            *(part.astype(mx.float32) for part in parts[1:]),
        )
    assert check(plain, packed, X).verdict is Verdict.PASS
