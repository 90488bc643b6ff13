"""Mistakes in CAM++, the speaker encoder."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.speaker_encoder import layers
from parity.faults.base import Context, Mistakes, at, behaving, setting
from parity.pair import Pair

CAM_LAYERS = tuple(f"campplus.xvector.block{number}.*.cam_layer" for number in (1, 2, 3))
CONTEXT = at(*CAM_LAYERS).of(layers.contexts)
OUT_NORM = at("campplus.xvector.out_nonlinear.batchnorm", kind="leaf")
DENSE_NORM = at("campplus.xvector.dense.nonlinear.batchnorm", kind="leaf")


def _in_training(pair: Pair) -> Context:
    official = pair.reference.component("campplus", "float32").xvector.out_nonlinear.batchnorm
    weight, bias = (mx.array(tensor.detach().numpy()) for tensor in (official.weight, official.bias))

    def training(self: Any, x: mx.array) -> mx.array:
        mean, variance = x.mean(axis=(0, 1)), x.var(axis=(0, 1))
        return (x - mean) * mx.rsqrt(variance + self.eps) * weight + bias

    return behaving(OUT_NORM.modules(pair), training)


def _folded_otherwise(pair: Pair) -> Context:
    official = pair.reference.component("campplus", "float32").xvector.dense.nonlinear.batchnorm
    mean, variance = official.running_mean.numpy(), official.running_var.numpy()
    scale = 1 / np.sqrt(variance + 1e-3)
    return setting(DENSE_NORM.modules(pair), eps=1e-3, weight=mx.array(scale), bias=mx.array(-mean * scale))


MISTAKES: Mistakes = {
    "batchnorm-training: "
    "A BatchNorm is left in training mode and normalizes by the statistics of the utterance.": OUT_NORM.by(
        _in_training
    ),
    "batchnorm-epsilon: The statistics of a BatchNorm are folded with an epsilon of 1e-3 (TensorFlow's) in place of "
    "1e-5.": DENSE_NORM.by(_folded_otherwise),
    "segment-pooling: The last, short segment is divided by 100 in place of its own length.": CONTEXT.edits(
        "mx.minimum(frames - SEGMENT_FRAMES * mx.arange(segments), SEGMENT_FRAMES)",
        "mx.full((segments,), SEGMENT_FRAMES)",
    ),
    "segment-context-only: The mean of the whole utterance is missing from the context.": CONTEXT.edits(
        "x.mean(axis=1, keepdims=True) + means", "means"
    ),
    "biased-deviation: The standard deviation over time is the biased one.": at(
        "campplus.xvector.stats", kind="leaf"
    ).edits(", ddof=1", ""),
    "dilation-ignored: The convolutions of blocks 2 and 3 are not dilated.": at(
        *(f"{cam_layer}.linear_local" for cam_layer in CAM_LAYERS[1:]), kind="leaf"
    ).sets(dilation=1, pad=(1, 1)),
    "head-flattening: Frequency becomes the slow index where channel and frequency are made one axis.": at(
        "campplus.head"
    ).edits("x.swapaxes(2, 3).flatten(2)", "x.flatten(2)"),
    "head-axes-exchanged: A 3 x 3 kernel has time and frequency exchanged.": at(
        "campplus.head.conv1", kind="weights"
    ).sets(weight=lambda weight: weight.swapaxes(1, 2)),
    "shortcut-after-relu: The activation comes before the shortcut is added.": at("campplus.head.layer1.0").edits(
        "(self.conv2(y)) + self.shortcut(x))", "(self.conv2(y))) + self.shortcut(x)"
    ),
    "dense-order: A dense layer's output is put before its input channels, not after them.": at(
        "campplus.xvector.block1"
    ).edits('[x, self[f"tdnnd{index + 1}"](x)]', '[self[f"tdnnd{index + 1}"](x), x]'),
}
