"""Functions of single numbers that networks are made of, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

Array = np.ndarray


def sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * x))


def gelu(x: Array) -> Array:
    """The exact one, by the error function."""
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_quick(x: Array) -> Array:
    return x * sigmoid(1.702 * x)


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def squared_relu(x: Array) -> Array:
    return np.square(relu(x))


def softplus(x: Array) -> Array:
    return np.logaddexp(x, 0)


def elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


_erf: Callable[[Array], Array] = np.vectorize(math.erf, otypes=[np.float64])

#: What reports call an activation -> the function.
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "the exact GELU": gelu,
    "the GELU by tanh": gelu_tanh,
    "the quick GELU": gelu_quick,
    "SiLU": silu,
    "ReLU": relu,
    "squared ReLU": squared_relu,
    "the sigmoid": sigmoid,
    "tanh": np.tanh,
    "softplus": softplus,
    "ELU": elu,
}
