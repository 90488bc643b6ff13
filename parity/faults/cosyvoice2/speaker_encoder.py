"""Mistakes in CAM++, the speaker encoder."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.speaker_encoder import head, layers
from parity.faults.base import Catalogue, Context, behaving, setting
from parity.pair import Pair

CATALOGUE = Catalogue("speaker_encoder")
at = CATALOGUE.at

CAM_LAYERS = tuple(f"campplus.xvector.block{number}.*.cam_layer" for number in (1, 2, 3))
CONTEXT = at(*CAM_LAYERS)
OUT_NORM = at("campplus.xvector.out_nonlinear.batchnorm", kind="leaf")
DENSE_NORM = at("campplus.xvector.dense.nonlinear.batchnorm", kind="leaf")


@OUT_NORM.switching
def batchnorm_training(pair: Pair) -> Context:
    """A BatchNorm is left in training mode and normalizes by the statistics of the utterance."""
    official = pair.reference.component("campplus", "float32").xvector.out_nonlinear.batchnorm
    weight, bias = (mx.array(tensor.detach().numpy()) for tensor in (official.weight, official.bias))

    def training(self: Any, x: mx.array) -> mx.array:
        mean, variance = x.mean(axis=(0, 1)), x.var(axis=(0, 1))
        return (x - mean) * mx.rsqrt(variance + self.eps) * weight + bias

    return behaving(OUT_NORM.modules(pair), training)


@DENSE_NORM.switching
def batchnorm_epsilon(pair: Pair) -> Context:
    """The statistics of a BatchNorm are folded with an epsilon of 1e-3 (TensorFlow's) in place of 1e-5."""
    official = pair.reference.component("campplus", "float32").xvector.dense.nonlinear.batchnorm
    mean, variance = official.running_mean.numpy(), official.running_var.numpy()
    scale = 1 / np.sqrt(variance + 1e-3)
    return setting(DENSE_NORM.modules(pair), eps=1e-3, weight=mx.array(scale), bias=mx.array(-mean * scale))


CONTEXT.calling(
    "segment-pooling",
    "The last, short segment is divided by 100 in place of its own length.",
    layers,
    "mx",
    minimum=lambda lengths, whole: mx.full(lengths.shape, whole),
)


@CONTEXT.wrapping(layers, "contexts")
def segment_context_only(original: Any, x: mx.array) -> mx.array:
    """The mean of the whole utterance is missing from the context."""
    return original(x) - x.mean(axis=1, keepdims=True)


@at("campplus.xvector.stats", kind="leaf").behaving
def biased_deviation(self: Any, x: mx.array) -> mx.array:
    """The standard deviation over time is the biased one."""
    return mx.concatenate([x.mean(axis=1), x.std(axis=1)], axis=1)


at(*(f"{cam_layer}.linear_local" for cam_layer in CAM_LAYERS[1:]), kind="leaf").setting(
    "dilation-ignored", "The convolutions of blocks 2 and 3 are not dilated.", dilation=1, pad=(1, 1)
)


@at("campplus.head").behaving
def head_flattening(self: Any, fbank: mx.array) -> mx.array:
    """Frequency becomes the slow index where channel and frequency are made one axis."""
    x = self(fbank)
    return x.reshape(*x.shape[:2], head.HEAD_CHANNELS, -1).swapaxes(2, 3).flatten(2)


at("campplus.head.conv1", kind="weights").setting(
    "head-axes-exchanged",
    "A 3 x 3 kernel has time and frequency exchanged.",
    weight=lambda weight: weight.swapaxes(1, 2),
)


@at("campplus.head.layer1.0").behaving
def shortcut_after_relu(self: Any, x: mx.array) -> mx.array:
    """The activation comes before the shortcut is added."""
    y = nn.relu(self.bn1(self.conv1(x)))
    return nn.relu(self.bn2(self.conv2(y))) + self.shortcut(x)


@at("campplus.xvector.block1").behaving
def dense_order(self: Any, x: mx.array) -> mx.array:
    """A dense layer's output is put before its input channels, not after them."""
    for index in range(self.count):
        x = mx.concatenate([self[f"tdnnd{index + 1}"](x), x], axis=2)
    return x
