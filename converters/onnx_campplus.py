"""Reads `campplus.onnx`: the CAM++ speaker encoder, back under 3D-Speaker's state-dict names.

The export folded most BatchNorms into the convolution before them. Their BatchNorm is then restored as one that
only adds the folded bias, so that a network with all its modules loads the result strictly and computes the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from converters.onnx_graph import OnnxGraph, attribute
from mlx_cosyvoice.config import SpeakerEncoderConfig
from mlx_cosyvoice.quoting import plain

EPS = 1e-5
HEAD_CHANNELS = 32
BLOCKS = 3


class Conv(NamedTuple):
    """A convolution of the network; `norm` is the BatchNorm right behind it, into which an export may fold it."""

    module: str
    shape: tuple[int, ...]
    bias: bool = False
    norm: str | None = None


class Norm(NamedTuple):
    """A BatchNorm that follows no convolution directly, so that it always stands in the graph."""

    module: str
    channels: int
    affine: bool = True


def _head_layout() -> Iterator[Conv]:
    width = HEAD_CHANNELS
    yield Conv("head.conv1", (width, 1, 3, 3), norm="head.bn1")
    for layer in ("head.layer1", "head.layer2"):
        for block in (f"{layer}.0", f"{layer}.1"):
            yield Conv(f"{block}.conv1", (width, width, 3, 3), norm=f"{block}.bn1")
            yield Conv(f"{block}.conv2", (width, width, 3, 3), norm=f"{block}.bn2")
        yield Conv(f"{layer}.0.shortcut.0", (width, width, 1, 1), norm=f"{layer}.0.shortcut.1")
    yield Conv("head.conv2", (width, width, 3, 3), norm="head.bn2")


def _layout(config: Mapping[str, Any]) -> Iterator[Conv | Norm]:
    """Every module with tensors."""
    yield from _head_layout()
    channels, growth = config["init_channels"], config["growth_rate"]
    bottleneck = config["bn_size"] * growth
    inputs = HEAD_CHANNELS * (config["feat_dim"] // 8)
    yield Conv("xvector.tdnn.linear", (channels, inputs, 5), norm="xvector.tdnn.nonlinear.batchnorm")
    for number, layers in enumerate(config["num_layers"], start=1):
        for index in range(1, layers + 1):
            layer = f"xvector.block{number}.tdnnd{index}"
            yield Norm(f"{layer}.nonlinear1.batchnorm", channels)
            yield Conv(f"{layer}.linear1", (bottleneck, channels, 1), norm=f"{layer}.nonlinear2.batchnorm")
            yield Conv(f"{layer}.cam_layer.linear_local", (growth, bottleneck, 3))
            yield Conv(f"{layer}.cam_layer.linear1", (bottleneck // 2, bottleneck, 1), bias=True)
            yield Conv(f"{layer}.cam_layer.linear2", (growth, bottleneck // 2, 1), bias=True)
            channels += growth
        transit = f"xvector.transit{number}"
        yield Norm(f"{transit}.nonlinear.batchnorm", channels)
        last = "xvector.out_nonlinear.batchnorm" if number == BLOCKS else None
        yield Conv(f"{transit}.linear", (channels // 2, channels, 1), norm=last)
        channels //= 2
    yield Conv("xvector.dense.linear", (config["embedding_size"], 2 * channels, 1))
    yield Norm("xvector.dense.nonlinear.batchnorm", config["embedding_size"], affine=False)


def _count_layers(modules: set[str], block: int) -> int:
    """How many numbers there are. If they do not follow one another, one of the layers is missing later."""
    prefix = f"xvector.block{block}.tdnnd"
    numbers = {module.removeprefix(prefix).split(".")[0] for module in modules if module.startswith(prefix)}
    return sum(number.isdecimal() for number in numbers)


def _config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The sizes, from the shapes of the convolutions' weights by module. Raises KeyError for a missing module."""
    growth = shapes["xvector.block1.tdnnd1.cam_layer.linear_local"][0]
    return {
        "feat_dim": shapes["xvector.tdnn.linear"][1] // HEAD_CHANNELS * 8,
        "embedding_size": shapes["xvector.dense.linear"][0],
        "growth_rate": growth,
        "bn_size": shapes["xvector.block1.tdnnd1.linear1"][0] // growth,
        "init_channels": shapes["xvector.tdnn.linear"][0],
        "num_layers": tuple(_count_layers(set(shapes), block) for block in range(1, BLOCKS + 1)),
    }


def campplus_config(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The fields of the speaker encoder's config, read off the shapes of what `read_campplus` returns."""
    return _config({key.removesuffix(".weight"): tuple(tensor.shape) for key, tensor in tensors.items()})


def _graph_config(graph: OnnxGraph) -> dict[str, Any]:
    sizing = ("tdnn.linear", "block1.tdnnd1.linear1", "block1.tdnnd1.cam_layer.linear_local", "dense.linear")
    graph.require((f"xvector.{module}", "Conv") for module in sizing)
    for module in sizing:
        graph.shape(graph.node(f"xvector.{module}", "Conv"), 1, rank=3)
    return _config({module: graph.shape(graph.nodes(module, "Conv")[0], 1) for module in graph.modules("Conv")})


def _norm(graph: OnnxGraph, norm: Norm) -> dict[str, np.ndarray]:
    """The tensors of a BatchNorm that stands in the graph."""
    node = graph.node(norm.module, "BatchNormalization")
    if not abs(attribute(node, "epsilon", EPS) - EPS) <= 1e-9:  # nor may it be NaN
        raise graph.wrong(f"node {plain(node.name)} has epsilon {attribute(node, 'epsilon', EPS)}, expected {EPS}")
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = {name: graph.weight(node, index, (norm.channels,)) for index, name in enumerate(names, start=1)}
    if not norm.affine and not (np.all(tensors.pop("weight") == 1) and np.all(tensors.pop("bias") == 0)):
        raise graph.wrong(f"node {plain(node.name)} has a scale or a bias, but the network's {norm.module} has none")
    return {**tensors, "num_batches_tracked": np.zeros((), np.int64)}


def _adding_norm(bias: np.ndarray) -> dict[str, np.ndarray]:
    """A BatchNorm that adds `bias`: its variance and epsilon make one."""
    return {
        "weight": np.ones_like(bias),
        "bias": bias,
        "running_mean": np.zeros_like(bias),
        "running_var": np.full_like(bias, 1 - EPS),
        "num_batches_tracked": np.zeros((), np.int64),
    }


def _conv(graph: OnnxGraph, conv: Conv) -> dict[str, dict[str, np.ndarray]]:
    """The tensors of a convolution and, if there is one, of the BatchNorm behind it, by module."""
    node = graph.node(conv.module, "Conv")
    own = {"weight": graph.weight(node, 1, conv.shape)}
    bias = graph.weight(node, 2, conv.shape[:1]) if len(node.input) > 2 else None
    in_graph = conv.norm is not None and bool(graph.nodes(conv.norm, "BatchNormalization"))
    folded = conv.norm is not None and not in_graph
    if (bias is None) == (conv.bias or folded):
        raise graph.wrong(f"node {plain(node.name)} has {'no' if bias is None else 'a'} bias")
    result = {conv.module: own}
    if conv.norm is None:
        if bias is not None:
            own["bias"] = bias
    elif bias is not None:
        result[conv.norm] = _adding_norm(bias)
    else:
        result[conv.norm] = _norm(graph, Norm(conv.norm, conv.shape[0]))
    return result


def read_campplus(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of 3D-Speaker's CAM++ (937 in the published size), float32, in PyTorch's layout.

    Raises:
        OSError: the file cannot be read.
        OnnxLayoutError: it is not an ONNX file, nodes of the network are missing, or a tensor has the wrong shape.
    """
    graph = OnnxGraph(path, "the CAM++ speaker encoder")
    sizes = _graph_config(graph)
    graph.check_config(SpeakerEncoderConfig, sizes)
    layout = list(_layout(sizes))
    graph.require((entry.module, "Conv" if isinstance(entry, Conv) else "BatchNormalization") for entry in layout)
    state: dict[str, np.ndarray] = {}
    for entry in layout:
        parts = _conv(graph, entry) if isinstance(entry, Conv) else {entry.module: _norm(graph, entry)}
        for module, tensors in parts.items():
            state.update({f"{module}.{name}": tensor for name, tensor in tensors.items()})
    return state
