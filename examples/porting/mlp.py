"""A block of a network in PyTorch, its port to MLX, and three mistakes that such ports have.

    mlx-parity run examples/porting/mlp.py                  # the port as it is: passes
    FAULT=activation mlx-parity run examples/porting/mlp.py # or eps, residual

docs/porting.md goes through it step by step.
"""

import os
import tempfile
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

WIDTH, HIDDEN = 32, 96
FAULT = os.environ.get("FAULT", "")
WEIGHTS = Path(tempfile.gettempdir()) / "mlp_port.safetensors"


def reference():
    """The PyTorch model. PyTorch is imported here, so that a port can be compared with a capture without it."""
    import torch

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.LayerNorm(WIDTH, eps=1e-3)
            self.up = torch.nn.Linear(WIDTH, HIDDEN)
            self.conv = torch.nn.Conv1d(HIDDEN, HIDDEN, 3, padding=1)
            self.down = torch.nn.Linear(HIDDEN, WIDTH)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = torch.nn.functional.gelu(self.up(self.norm(x)))
            hidden = self.conv(hidden.transpose(1, 2)).transpose(1, 2)  # PyTorch convolves [batch, channels, time]
            return x + self.down(hidden)

    torch.manual_seed(0)
    return torch.nn.Sequential(Block(), Block()).eval()


class Block(nn.Module):
    """The port. MLX convolves [batch, time, channels]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH, eps=1e-5 if FAULT == "eps" else 1e-3)
        self.up = nn.Linear(WIDTH, HIDDEN)
        self.conv = nn.Conv1d(HIDDEN, HIDDEN, 3, padding=1)
        self.down = nn.Linear(HIDDEN, WIDTH)

    def __call__(self, x: mx.array) -> mx.array:
        normed = self.norm(x)
        hidden = (nn.gelu_approx if FAULT == "activation" else nn.gelu)(self.up(normed))
        return (normed if FAULT == "residual" else x) + self.down(self.conv(hidden))


def port() -> nn.Module:
    """The port with the reference's weights."""
    model = nn.Sequential(Block(), Block())
    if not WEIGHTS.exists():
        convert()
    model.load_weights(str(WEIGHTS), strict=True)
    return model


def convert() -> None:
    """Write the reference's weights as MLX stores them: the kernels of convolutions have their channels last."""
    state = {f"layers.{name}": tensor.numpy() for name, tensor in reference().state_dict().items()}
    laid_out = {name: np.moveaxis(array, 1, 2) if array.ndim == 3 else array for name, array in state.items()}
    mx.save_safetensors(str(WEIGHTS), {name: mx.array(array) for name, array in laid_out.items()})


def inputs() -> np.ndarray:
    """[batch, time, channels]."""
    return np.random.default_rng(0).standard_normal((2, 20, WIDTH)).astype(np.float32)


#: In MLX a `Sequential` has its blocks in `layers`.
RENAME = {r"layers\.": ""}
