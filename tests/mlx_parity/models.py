"""A small network in both frameworks, with mistakes that can be put into the port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import torch

WIDTH, HIDDEN = 16, 24


class TorchBlock(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(WIDTH, eps=1e-3)
        self.up = torch.nn.Linear(WIDTH, HIDDEN)
        self.conv = torch.nn.Conv1d(HIDDEN, HIDDEN, 3, padding=1)
        self.down = torch.nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
        hidden = torch.nn.functional.gelu(self.up(self.norm(x)))
        return x + scale * self.down(self.conv(hidden.transpose(1, 2)).transpose(1, 2))


class TorchNet(torch.nn.Module):
    def __init__(self, blocks: int = 2) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(11, WIDTH)
        self.blocks = torch.nn.ModuleList([TorchBlock() for _ in range(blocks)])
        self.head = torch.nn.Linear(WIDTH, 11)

    def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, scale=0.5)
        return {"logits": self.head(x), "hidden": x}


class Block(nn.Module):
    def __init__(self, activation: Callable[[mx.array], mx.array] = nn.gelu, eps: float = 1e-3) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH, eps=eps)
        self.up = nn.Linear(WIDTH, HIDDEN)
        self.conv = nn.Conv1d(HIDDEN, HIDDEN, 3, padding=1)
        self.down = nn.Linear(HIDDEN, WIDTH)
        self.activation = activation

    def __call__(self, x: mx.array, scale: float = 1.0) -> mx.array:
        return x + scale * self.down(self.conv(self.activation(self.up(self.norm(x)))))


class Net(nn.Module):
    def __init__(self, blocks: int = 2, **options: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, WIDTH)
        self.blocks = [Block(**options if place == 1 else {}) for place in range(blocks)]
        self.head = nn.Linear(WIDTH, 11)

    def __call__(self, ids: mx.array) -> dict[str, mx.array]:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, scale=0.5)
        return {"logits": self.head(x), "hidden": x}


def reference() -> TorchNet:
    torch.manual_seed(0)
    return TorchNet().eval()


def weights(model: torch.nn.Module) -> list[tuple[str, mx.array]]:
    """As MLX stores them."""
    arrays = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    return [(name, mx.array(np.moveaxis(one, 1, -1) if one.ndim == 3 else one)) for name, one in arrays.items()]


def port(model: torch.nn.Module, kind: type[Net] = Net, **options: Any) -> Net:
    """The port of a reference; `options` are of its second block."""
    net = kind(**options)
    net.load_weights(weights(model))
    return net


def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 11, (2, 9))
