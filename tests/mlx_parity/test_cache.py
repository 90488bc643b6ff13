"""Decoding step by step: every call is judged, and a mistake of the cache is told from one of the model."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import torch

from mlx_parity import Given, RunReport, Verdict, check

WIDTH, STEPS = 16, 4
X = np.random.default_rng(0).standard_normal((1, 9, WIDTH)).astype(np.float32)


class TorchAttention(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, past: Any = None) -> tuple[torch.Tensor, Any]:
        q, k, v = self.qkv(x).chunk(3, -1)
        if past is not None:
            k, v = torch.cat([past[0], k], 1), torch.cat([past[1], v], 1)
        later = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).triu(k.shape[1] - q.shape[1] + 1)
        scores = (q @ k.mT / 4).masked_fill(later, -torch.inf)
        return self.out(scores.softmax(-1) @ v), (k, v)


class Attention(nn.Module):
    """`keep` is how many steps the cache remembers; a right one remembers all."""

    def __init__(self, keep: int = 99, scale: float = 0.25) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.keep, self.scale = keep, scale

    def __call__(self, x: mx.array, past: Any = None) -> tuple[mx.array, Any]:
        q, k, v = mx.split(self.qkv(x), 3, -1)
        if past is not None:
            k, v = (mx.concatenate([one[:, -self.keep :], new], 1) for one, new in zip(past, (k, v), strict=True))
        behind = k.shape[1] - q.shape[1]
        mask = mx.arange(k.shape[1])[None] <= mx.arange(q.shape[1])[:, None] + behind
        scores = mx.where(mask, self.scale * q @ k.swapaxes(1, 2), -mx.inf)
        return self.out(mx.softmax(scores, axis=-1) @ v), (k, v)


def stepwise(side: Any, given: Given) -> dict[str, Any]:
    x = side.array(given["x"])
    made, past = side.module(x[:, :-STEPS])
    found = {"prefill": made}
    for step in range(STEPS):
        at = x.shape[1] - STEPS + step
        found[f"step{step}"], past = side.module(x[:, at : at + 1], past)
    return found


def at_once(side: Any, given: Given) -> dict[str, Any]:
    made, _ = side.module(side.array(given["x"]))
    return {"prefill": made[:, :-STEPS]} | {f"step{step}": made[:, step - STEPS][:, None] for step in range(STEPS)}


def judged(**options: Any) -> RunReport:
    torch.manual_seed(0)
    original = TorchAttention().eval()
    port = Attention(**options)
    port.load_weights([(name, mx.array(tensor.numpy())) for name, tensor in original.state_dict().items()])
    return check(original, port, {"x": X}, call=stepwise, whole=at_once, name="attention")


def test_a_right_cache_passes_at_every_step() -> None:
    report = judged()
    assert report.verdict is Verdict.PASS, report.culprits
    assert {"out", "out#4", "out#5"} <= {layer.path for layer in report.stages[0].layers}


def test_a_cache_that_forgets_is_told_from_a_wrong_model() -> None:
    report = judged(keep=3)
    assert [culprit.module for culprit in report.culprits] == ["attention"]
    assert "(call 1)" in report.culprits[0].evidence[0]
    assert "what is wrong is in the cache" in report.stages[0].remarks[0]


def test_a_wrong_model_is_wrong_in_one_pass_too() -> None:
    report = judged(scale=0.2)
    assert [culprit.module for culprit in report.culprits] == ["attention"]
    assert "(call 0)" in report.culprits[0].evidence[0]
    assert not report.stages[0].remarks
