"""The graph of `campplus.onnx`, with recipe weights.

Names, scopes and folded BatchNorms are those of the published file, so that whatever reads one reads the other. It runs
in ONNX Runtime and computes what the reference computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reference import campplus
from reference.skeleton import skeleton
from reference.synthetic import recipe
from reference.synthetic.onnx_builder import FLOAT, GraphBuilder, Weights, recipe_weights

#: The running number of the first anonymous tensor of the published file.
CAMPPLUS_FIRST = 4423
BATCHNORM_EPS = 1e-5


class CAMPPlusWriter:
    """The CAM++ graph. Every method adds a part and returns the name of its output."""

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        self.config, self.graph, self.weights = config, GraphBuilder(), weights
        self.number = CAMPPLUS_FIRST

    def folded_conv(self, scope: str, module: str, norm: str, x: str, **attributes: Any) -> str:
        """A convolution without bias and the BatchNorm behind it, as one convolution with bias."""
        scale = self.weights(f"{norm}.weight") / np.sqrt(
            self.weights(f"{norm}.running_var").astype(np.float64) + BATCHNORM_EPS
        )
        weight = self.weights(f"{module}.weight")
        bias = self.weights(f"{norm}.bias") - self.weights(f"{norm}.running_mean") * scale
        weight = (weight * scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32)
        names = [
            self.graph.anonymous("Conv", self.number, weight),
            self.graph.anonymous("Conv", self.number + 1, bias.astype(np.float32)),
        ]
        self.number += 3
        return self.graph.op(scope, "Conv", x, *names, kernel_shape=weight.shape[2:], **attributes)

    def conv(self, scope: str, x: str, bias: bool = False, **attributes: Any) -> str:
        """A convolution of one axis that keeps its state-dict names."""
        module = scope.strip("/").replace("/", ".")
        weight = self.weights(f"{module}.weight")
        names = [self.graph.named(f"{module}.weight", weight)]
        if bias:
            names.append(self.graph.named(f"{module}.bias", self.weights(f"{module}.bias")))
        return self.graph.op(scope, "Conv", x, *names, kernel_shape=weight.shape[2:], **attributes)

    def nonlinear(self, scope: str, x: str) -> str:
        """A BatchNorm that stands for itself, and ReLU."""
        module = scope.strip("/").replace("/", ".")
        names = [f"{module}.batchnorm.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
        for name in names:
            self.graph.named(name, self.weights(name))
        x = self.graph.op(f"{scope}/batchnorm", "BatchNormalization", x, *names, epsilon=BATCHNORM_EPS)
        return self.graph.op(f"{scope}/relu", "Relu", x)

    def head(self, x: str) -> str:
        op, relu = self.graph.op, lambda scope, x: self.graph.op(scope, "Relu", x)
        pads = {"pads": [1, 1, 1, 1]}
        x = op("/head", "Unsqueeze", x, self.graph.constant("/head", [1], np.int64))
        x = relu("/head", self.folded_conv("/head/conv1", "head.conv1", "head.bn1", x, **pads))
        for layer in ("layer1", "layer2"):
            for index in (0, 1):
                scope, module = f"/head/{layer}/{layer}.{index}", f"head.{layer}.{index}"
                strides = [1, 1] if index else [2, 1]
                y = self.folded_conv(f"{scope}/conv1", f"{module}.conv1", f"{module}.bn1", x, strides=strides, **pads)
                y = self.folded_conv(f"{scope}/conv2", f"{module}.conv2", f"{module}.bn2", relu(scope, y), **pads)
                if not index:
                    x = self.folded_conv(
                        f"{scope}/shortcut/shortcut.0",
                        f"{module}.shortcut.0",
                        f"{module}.shortcut.1",
                        x,
                        strides=strides,
                    )
                x = relu(scope, op(scope, "Add", y, x))
        x = relu("/head", self.folded_conv("/head/conv2", "head.conv2", "head.bn2", x, strides=[2, 1], **pads))
        size = campplus.HEAD_CHANNELS * (self.config["feat_dim"] // 8)
        return op("/head", "Reshape", x, self.graph.constant("/head", [0, size, -1], np.int64))

    def cam_layer(self, scope: str, x: str, dilation: int) -> str:
        op = self.graph.op
        constant = lambda value: self.graph.constant(scope, value, np.int64)  # noqa: E731
        width = self.config["bn_size"] * self.config["growth_rate"]
        frames = campplus.SEGMENT_FRAMES
        local = self.conv(f"{scope}/linear_local", x, pads=[dilation, dilation], dilations=[dilation])
        mean = op(scope, "ReduceMean", x, axes=[-1], keepdims=1)
        segment = op(scope, "AveragePool", x, kernel_shape=[frames], strides=[frames], ceil_mode=1)
        segment = op(scope, "Unsqueeze", segment, constant([-1]))
        segment = op(scope, "Expand", segment, constant([1, 1, 1, frames]))
        segment = op(scope, "Reshape", segment, constant([0, width, -1]))
        length = op(scope, "Gather", op(scope, "Shape", x), constant([2]))
        segment = op(scope, "Slice", segment, constant([0]), length, constant([2]))
        context = self.conv(f"{scope}/linear1", op(scope, "Add", mean, segment), bias=True)
        mask = self.conv(f"{scope}/linear2", op(f"{scope}/relu", "Relu", context), bias=True)
        return op(scope, "Mul", local, op(f"{scope}/sigmoid", "Sigmoid", mask))

    def block(self, scope: str, x: str, layers: int, dilation: int) -> str:
        for index in range(1, layers + 1):
            layer = f"{scope}/tdnnd{index}"
            module = layer.strip("/").replace("/", ".")
            y = self.nonlinear(f"{layer}/nonlinear1", x)
            y = self.folded_conv(f"{layer}/linear1", f"{module}.linear1", f"{module}.nonlinear2.batchnorm", y)
            y = self.graph.op(f"{layer}/nonlinear2/relu", "Relu", y)
            x = self.graph.op(scope, "Concat", x, self.cam_layer(f"{layer}/cam_layer", y, dilation), axis=1)
        return x

    def stats(self, x: str) -> str:
        """Mean and unbiased standard deviation over time."""
        scope, op = "/xvector/stats", self.graph.op
        mean = op(scope, "ReduceMean", x, axes=[-1], keepdims=0)
        distance = op(scope, "Sub", x, op(scope, "ReduceMean", x, axes=[-1], keepdims=1))
        squares = op(scope, "ReduceMean", op(scope, "Mul", distance, distance), axes=[-1], keepdims=0)
        length = op(scope, "Gather", op(scope, "Shape", x), self.graph.constant(scope, -1, np.int64))
        length = op(scope, "Cast", length, to=FLOAT)
        fewer = op(scope, "Sub", length, self.graph.constant(scope, 1.0, np.float32))
        variance = op(scope, "Div", op(scope, "Mul", squares, length), fewer)
        return op(scope, "Concat", mean, op(scope, "Sqrt", variance), axis=-1)

    def dense(self, x: str) -> str:
        """The embedding; its BatchNorm has no scale and bias, which ONNX wants, so constants stand in."""
        scope, op, size = "/xvector/dense", self.graph.op, self.config["embedding_size"]
        x = op(scope, "Unsqueeze", x, self.graph.constant(scope, [-1], np.int64))
        x = self.conv(f"{scope}/linear", x)
        x = op(scope, "Squeeze", x, self.graph.constant(scope, [2], np.int64))
        scope = f"{scope}/nonlinear/batchnorm"
        affine = [self.graph.constant(scope, value, np.float32) for value in (np.ones(size), np.zeros(size))]
        names = [f"xvector.dense.nonlinear.batchnorm.{name}" for name in ("running_mean", "running_var")]
        stored = [self.graph.named(name, self.weights(name)) for name in names]
        return op(scope, "BatchNormalization", x, *affine, *stored, epsilon=BATCHNORM_EPS, output="output")

    def write(self, path: str | Path) -> None:
        x = self.head(self.graph.op("", "Transpose", "input", perm=[0, 2, 1]))
        norm = "xvector.tdnn.nonlinear.batchnorm"
        x = self.folded_conv("/xvector/tdnn/linear", "xvector.tdnn.linear", norm, x, strides=[2], pads=[2, 2])
        x = self.graph.op("/xvector/tdnn/nonlinear/relu", "Relu", x)
        layout = zip(self.config["num_layers"], campplus.DILATIONS, strict=True)
        for number, (layers, dilation) in enumerate(layout, start=1):
            x = self.block(f"/xvector/block{number}", x, layers, dilation)
            x = self.nonlinear(f"/xvector/transit{number}/nonlinear", x)
            linear = f"/xvector/transit{number}/linear"
            if number < len(campplus.DILATIONS):
                x = self.conv(linear, x)
            else:
                module = linear.strip("/").replace("/", ".")
                x = self.folded_conv(linear, module, "xvector.out_nonlinear.batchnorm", x)
        self.dense(self.stats(self.graph.op("/xvector/out_nonlinear/relu", "Relu", x)))
        self.graph.save(
            path,
            inputs={"input": (FLOAT, ["batch_size", "frame_num", self.config["feat_dim"]])},
            outputs={"output": (FLOAT, ["batch_size", self.config["embedding_size"]])},
            opset=14,
            ir_version=7,
        )


def write_campplus(path: str | Path, config: Mapping[str, Any], seed: int = recipe.SEED) -> None:
    """Write CAM++: `input` [B, T, feat_dim] -> `output` [B, embedding_size], float32.

    `config` is the one of `reference.campplus.build`. The bytes depend on the arguments only.
    """
    weights = recipe_weights(skeleton(campplus.build, config), "campplus.", seed)
    CAMPPlusWriter(config, weights).write(path)
