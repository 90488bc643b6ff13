"""Layers that PyTorch stores or lays out differently. Input and output are [batch, time, channels]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.nn import functional
from mlx_cosyvoice.nn.cache import Cache, extended
from mlx_cosyvoice.nn.official import Module, Rule, same


class Linear(nn.Linear):
    """torch.nn.Linear, which is also fast for a single row, as in generating one token after the other."""

    def __call__(self, x: mx.array) -> mx.array:
        return functional.linear(x, self.weight, self.bias if "bias" in self else None)


def folded_weight_norm(gain: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """torch.nn.utils.parametrizations.weight_norm with dim=0: g * v / |v|, the norm over all axes but the first."""
    norm = np.sqrt(np.square(direction.astype(np.float64)).sum(axis=tuple(range(1, direction.ndim)), keepdims=True))
    return (gain * (direction / norm)).astype(direction.dtype)


def _weight_rule(weight_norm: bool, order: tuple[int, ...]) -> Rule:
    if weight_norm:
        return Rule(
            ("parametrizations.weight.original0", "parametrizations.weight.original1"),
            lambda gain, direction: folded_weight_norm(gain, direction).transpose(order),
        )
    return Rule(("weight",), lambda weight: weight.transpose(order))


class Conv1d(Module):
    """torch.nn.Conv1d, [batch, time, channels] in and out. `pad` is (left, right) zeros.

    One that is padded on the left alone can run in pieces: with a cache, the frames before a piece take the place of
    the zeros. The weight is [out, kernel, in / groups] (PyTorch: [out, in / groups, kernel]).
    """

    official_axes = "bct"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        pad: tuple[int, int] = (0, 0),
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        weight_norm: bool = False,
    ) -> None:
        super().__init__()
        self.weight = mx.zeros((out_channels, kernel_size, in_channels // groups))
        if bias:
            self.bias = mx.zeros((out_channels,))
        self.stride, self.pad, self.dilation, self.groups = stride, pad, dilation, groups
        self.weight_norm = weight_norm

    def rules(self) -> dict[str, Rule]:
        rules = {"weight": _weight_rule(self.weight_norm, (0, 2, 1))}
        if "bias" in self:
            rules["bias"] = same("bias")
        return rules

    def __call__(self, x: mx.array, cache: Cache | None = None) -> mx.array:
        left, right = self.pad
        if left:
            x = extended(x, left, cache)
        if right:
            x = mx.pad(x, [(0, 0), (0, right), (0, 0)])
        x = functional.conv1d(x, self.weight, stride=self.stride, dilation=self.dilation, groups=self.groups)
        return x + self.bias if "bias" in self else x


class ConvTranspose1d(Module):
    """torch.nn.ConvTranspose1d, [batch, time, channels] in and out.

    The weight is [out, kernel, in] (PyTorch: [in, out, kernel]).
    """

    official_axes = "bct"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        weight_norm: bool = False,
    ) -> None:
        super().__init__()
        self.weight = mx.zeros((out_channels, kernel_size, in_channels))
        self.bias = mx.zeros((out_channels,))
        self.stride, self.padding = stride, padding
        self.weight_norm = weight_norm

    def rules(self) -> dict[str, Rule]:
        return {"weight": _weight_rule(self.weight_norm, (1, 2, 0)), "bias": same("bias")}

    def __call__(self, x: mx.array) -> mx.array:
        return functional.conv_transpose1d(x, self.weight, stride=self.stride, padding=self.padding) + self.bias


class Conv2d(Module):
    """torch.nn.Conv2d over [batch, time, frequency, channels] (official: [batch, channels, frequency, time]).

    `stride` and `padding` are (frequency, time), as the official code writes them. The weight is
    [out, k_time, k_frequency, in] (PyTorch: [out, in, k_frequency, k_time]). No bias.
    """

    official_axes = "bcft"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__()
        self.weight = mx.zeros((out_channels, kernel_size, kernel_size, in_channels))
        self.stride, self.padding = stride, padding

    def rules(self) -> dict[str, Rule]:
        return {"weight": Rule(("weight",), lambda weight: weight.transpose(0, 3, 2, 1))}

    def __call__(self, x: mx.array) -> mx.array:
        return functional.conv2d(x, self.weight, stride=self.stride[::-1], padding=self.padding[::-1])


class BatchNorm(Module):
    """torch.nn.BatchNorm1d/2d in evaluation: its statistics are folded into one scale (`weight`) and shift (`bias`).

    `official_axes` is where the official module stands: "bct" (1-d), "bcft" (2-d). Vectors [batch, channels] pass too.
    """

    def __init__(self, channels: int, *, official_axes: str = "bct", eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.official_axes = official_axes
        self.eps, self.affine = eps, affine
        self.weight = mx.ones((channels,))
        self.bias = mx.zeros((channels,))

    def rules(self) -> dict[str, Rule]:
        eps, affine = np.float64(self.eps), self.affine

        def scale(variance: np.ndarray, *weight: np.ndarray) -> np.ndarray:
            return ((weight[0] if affine else 1.0) / np.sqrt(variance.astype(np.float64) + eps)).astype(variance.dtype)

        def shift(mean: np.ndarray, variance: np.ndarray, *affine_part: np.ndarray) -> np.ndarray:
            weight, bias = affine_part if affine else (1.0, 0.0)
            return (bias - mean * (weight / np.sqrt(variance.astype(np.float64) + eps))).astype(mean.dtype)

        extra = ("weight", "bias") if affine else ()
        return {
            "weight": Rule(("running_var", *extra[:1]), scale),
            "bias": Rule(("running_mean", "running_var", *extra), shift),
        }

    def unused(self) -> dict[str, str]:
        return {"num_batches_tracked": "a training counter"}

    def __call__(self, x: mx.array) -> mx.array:
        return x * self.weight + self.bias


class Sequential(Module):
    """torch.nn.Sequential: children under their numbers ("0", "1", ...), so that paths stay the official ones.

    A cache goes to the convolutions.
    """

    def __init__(self, *layers: nn.Module, official_axes: str = "btc") -> None:
        super().__init__()
        self.official_axes = official_axes
        for index, layer in enumerate(layers):
            self[str(index)] = layer

    def __getitem__(self, key: int | str) -> Any:
        # mlx's update() addresses numbered children by int, having turned "0.weight" into a list
        return super().__getitem__(str(key))

    def __setitem__(self, key: int | str, value: Any) -> None:
        super().__setitem__(str(key), value)

    def layers(self) -> Sequence[nn.Module]:
        return [self[key] for key in self if key.isdecimal()]

    def __call__(self, x: mx.array, cache: Cache | None = None) -> mx.array:
        for layer in self.layers():
            x = layer(x, cache) if isinstance(layer, Conv1d) else layer(x)
        return x


class Identity(Module):
    """Stands where the official code has a dropout, or a transpose that channels-last layout does not need."""

    def __init__(self, *, official_axes: str = "btc", official_input_axes: str | None = None) -> None:
        super().__init__()
        self.official_axes, self.official_input_axes = official_axes, official_input_axes

    def __call__(self, x: mx.array) -> mx.array:
        return x


class Activation(Module):
    """An elementwise function as a module, so that it can be tapped under its official path."""

    #: Its name in `nn.functional`.
    function: ClassVar[str]

    def __init__(self, *, official_axes: str = "btc") -> None:
        super().__init__()
        self.official_axes = official_axes

    def __call__(self, x: mx.array) -> mx.array:
        return getattr(functional, self.function)(x)


class Mish(Activation):
    function = "mish"


class SiLU(Activation):
    function = "silu"


class GELU(Activation):
    """The exact one (erf), not the tanh approximation."""

    function = "gelu"


class GELUTanh(Activation):
    """The tanh approximation."""

    function = "gelu_tanh"


class ELU(Activation):
    function = "elu"


class ReLU(Activation):
    function = "relu"


class Tanh(Activation):
    function = "tanh"
