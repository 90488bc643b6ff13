"""Mistakes in CAM++, the speaker encoder."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import torch

from mlx_cosyvoice.speaker_encoder import head, layers
from parity.faults.base import Catalogue, behaving, calling, modules_at, patched, setting
from parity.pair import Pair

Context = AbstractContextManager[Any]

CATALOGUE = Catalogue("speaker_encoder")
fault = CATALOGUE.add

CAM_LAYERS = tuple(f"campplus.xvector.block{number}.*.cam_layer" for number in (1, 2, 3))
DILATED = tuple(f"{cam_layer}.linear_local" for cam_layer in CAM_LAYERS[1:])


@fault(
    "batchnorm-training",
    "A BatchNorm is left in training mode and normalizes by the statistics of the utterance.",
    "campplus.xvector.out_nonlinear.batchnorm",
    kind="leaf",
)
def batchnorm_training(pair: Pair) -> Context:
    official = pair.reference.component("campplus", torch.float32).xvector.out_nonlinear.batchnorm
    weight, bias = (mx.array(tensor.detach().numpy()) for tensor in (official.weight, official.bias))

    def training(self: Any, x: mx.array) -> mx.array:
        mean, variance = x.mean(axis=(0, 1)), x.var(axis=(0, 1))
        return (x - mean) * mx.rsqrt(variance + self.eps) * weight + bias

    return behaving(modules_at(pair, "campplus.xvector.out_nonlinear.batchnorm"), training)


@fault(
    "batchnorm-epsilon",
    "The statistics of a BatchNorm are folded with an epsilon of 1e-3 (TensorFlow's) in place of 1e-5.",
    "campplus.xvector.dense.nonlinear.batchnorm",
    kind="leaf",
)
def batchnorm_epsilon(pair: Pair) -> Context:
    official = pair.reference.component("campplus", torch.float32).xvector.dense.nonlinear.batchnorm
    mean, variance = official.running_mean.numpy(), official.running_var.numpy()
    scale = 1 / np.sqrt(variance + 1e-3)
    modules = modules_at(pair, "campplus.xvector.dense.nonlinear.batchnorm")
    return setting(modules, eps=1e-3, weight=mx.array(scale), bias=mx.array(-mean * scale))


@fault("segment-pooling", "The last, short segment is divided by 100 in place of its own length.", *CAM_LAYERS)
def segment_pooling(pair: Pair) -> Context:
    return calling(layers, "mx", minimum=lambda lengths, whole: mx.full(lengths.shape, whole))


@fault("segment-context-only", "The mean of the whole utterance is missing from the context.", *CAM_LAYERS)
def segment_context_only(pair: Pair) -> Context:
    original = layers.contexts
    return patched(layers, "contexts", lambda x: original(x) - x.mean(axis=1, keepdims=True))


@fault("biased-deviation", "The standard deviation over time is the biased one.", "campplus.xvector.stats", kind="leaf")
def biased_deviation(pair: Pair) -> Context:
    def biased(self: Any, x: mx.array) -> mx.array:
        return mx.concatenate([x.mean(axis=1), x.std(axis=1)], axis=1)

    return behaving(modules_at(pair, "campplus.xvector.stats"), biased)


@fault("dilation-ignored", "The convolutions of blocks 2 and 3 are not dilated.", *DILATED, kind="leaf")
def dilation_ignored(pair: Pair) -> Context:
    return setting(modules_at(pair, *DILATED), dilation=1, pad=(1, 1))


@fault(
    "head-flattening",
    "Frequency becomes the slow index where channel and frequency are made one axis.",
    "campplus.head",
)
def head_flattening(pair: Pair) -> Context:
    def flattened(self: Any, fbank: mx.array) -> mx.array:
        x = head.Head.__call__(self, fbank)
        return x.reshape(*x.shape[:2], head.HEAD_CHANNELS, -1).swapaxes(2, 3).flatten(2)

    return behaving(modules_at(pair, "campplus.head"), flattened)


@fault("head-axes-exchanged", "A 3 x 3 kernel has time and frequency exchanged.", "campplus.head.conv1", kind="weights")
def head_axes_exchanged(pair: Pair) -> Context:
    return setting(modules_at(pair, "campplus.head.conv1"), weight=lambda weight: weight.swapaxes(1, 2))


@fault("shortcut-after-relu", "The activation comes before the shortcut is added.", "campplus.head.layer1.0")
def shortcut_after_relu(pair: Pair) -> Context:
    def early(self: Any, x: mx.array) -> mx.array:
        y = nn.relu(self.bn1(self.conv1(x)))
        return nn.relu(self.bn2(self.conv2(y))) + self.shortcut(x)

    return behaving(modules_at(pair, "campplus.head.layer1.0"), early)


@fault(
    "dense-order", "A dense layer's output is put before its input channels, not after them.", "campplus.xvector.block1"
)
def dense_order(pair: Pair) -> Context:
    def reversed_order(self: Any, x: mx.array) -> mx.array:
        for index in range(self.count):
            x = mx.concatenate([self[f"tdnnd{index + 1}"](x), x], axis=2)
        return x

    return behaving(modules_at(pair, "campplus.xvector.block1"), reversed_order)
