"""Layers shared by the stages, and what each says of its official twin."""

from mlx_cosyvoice.nn.layers import (
    ELU,
    GELU,
    BatchNorm,
    Conv1d,
    Conv2d,
    ConvTranspose1d,
    GELUTanh,
    Identity,
    Linear,
    Mish,
    ReLU,
    Sequential,
    SiLU,
    Tanh,
)
from mlx_cosyvoice.nn.official import Module, load_official

__all__ = [
    "ELU",
    "GELU",
    "BatchNorm",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "GELUTanh",
    "Identity",
    "Linear",
    "Mish",
    "Module",
    "ReLU",
    "Sequential",
    "SiLU",
    "Tanh",
    "load_official",
]
