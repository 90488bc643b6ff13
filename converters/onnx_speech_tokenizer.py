"""Reads `speech_tokenizer_v2.onnx` and `_v3.onnx`: the S3 speech tokenizer, under S3Tokenizer's state-dict names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters.onnx_graph import OnnxGraph
from converters.onnx_norm import LayerNorm
from mlx_cosyvoice.config import SpeechTokenizerConfig
from mlx_cosyvoice.quoting import quoted

FSMN_KERNEL = 31
DIGITS = 8
#: The linear maps of a block: module, inputs and outputs in units of the width, whether there is a bias.
LINEARS = (
    ("attn.query", 1, 1, True),
    ("attn.key", 1, 1, False),
    ("attn.value", 1, 1, True),
    ("attn.out", 1, 1, True),
    ("mlp.0", 1, 4, True),
    ("mlp.2", 4, 1, True),
)
NORMS = ("attn_ln", "mlp_ln")
#: The graph's name of the quantizer's projection, and S3Tokenizer's.
PROJECTION, OFFICIAL_PROJECTION = "quantizer.project_in", "quantizer._codebook.project_down"


def _nodes(layers: int) -> Iterator[tuple[str, str]]:
    """Every (module, operator) that holds a tensor or a size."""
    yield from (("conv1", "Conv"), ("conv2", "Conv"))
    for block in (f"blocks.{index}" for index in range(layers)):
        yield f"{block}.attn.fsmn_block", "Conv"
        yield f"{block}.attn", "Concat"
        for module, _, _, bias in LINEARS:
            yield from ((f"{block}.{module}", op) for op in (("MatMul", "Add") if bias else ("MatMul",)))
    yield from ((PROJECTION, "MatMul"), (PROJECTION, "Add"))


def _conv(graph: OnnxGraph, module: str, shape: tuple[int, ...], bias: bool) -> dict[str, np.ndarray]:
    node = graph.node(module, "Conv")
    tensors = {"weight": graph.weight(node, 1, shape)}
    if bias:
        tensors["bias"] = graph.weight(node, 2, shape[:1])
    return tensors


def _linear(graph: OnnxGraph, module: str, inputs: int, outputs: int, bias: bool) -> dict[str, np.ndarray]:
    """MatMul holds [in, out] at input 1; the bias is the stored input of Add, the first in the official file."""
    weight = graph.weight(graph.node(module, "MatMul"), 1, (inputs, outputs))
    tensors = {"weight": weight.T}
    if bias:
        node = graph.node(module, "Add")
        tensors["bias"] = graph.weight(node, 0 if graph.is_stored(node, 0) else 1, (outputs,))
    return tensors


def _heads(graph: OnnxGraph, layers: int, width: int) -> int:
    """The number of heads: third in the shape [batch, time, heads, -1] that q, k and v are brought to."""
    found = set()
    for index in range(layers):
        for node in graph.nodes(f"blocks.{index}.attn", "Concat"):
            if len(node.input) == 4 and graph.is_stored(node, 2) and graph.is_stored(node, 3):
                found.add(graph.whole_number(node, 2))
    if len(found) != 1:
        raise graph.wrong(f"blocks.N.attn should reshape to one number of heads, found {quoted(sorted(found))}")
    heads = found.pop()
    if heads < 1 or width % (2 * heads):
        raise graph.wrong(f"{heads} heads do not divide the width {width} into even parts")
    return heads


def _epsilon(graph: OnnxGraph, layers: int, norm: str) -> float:
    found = {LayerNorm(graph, f"blocks.{index}.{norm}").epsilon() for index in range(layers)}
    if len(found) != 1:
        raise graph.wrong(f"the blocks' {norm} have different epsilons: {quoted(sorted(found))}")
    return found.pop()


def read_speech_tokenizer(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors (float32, S3Tokenizer's keys, PyTorch's layout), and the sizes that the config has fields for.

    The number of heads and the epsilons are not in the weights; they are read off the graph.

    Raises:
        OSError: the file cannot be read.
        OnnxLayoutError: it is not an ONNX file, nodes of the network are missing, or a tensor has the wrong shape.
    """
    graph = OnnxGraph(path, "an S3 speech tokenizer")
    names = {module.split(".")[1] for module in graph.modules("MatMul") if module.startswith("blocks.")}
    # If the numbers do not follow one another, one of the blocks is missing.
    layers = sum(name.isdecimal() for name in names) or 1
    graph.require(_nodes(layers))
    width, mels, _ = graph.shape(graph.node("conv1", "Conv"), 1, rank=3)

    modules: dict[str, dict[str, np.ndarray]] = {
        "encoder.conv1": _conv(graph, "conv1", (width, mels, 3), True),
        "encoder.conv2": _conv(graph, "conv2", (width, width, 3), True),
    }
    for block in (f"blocks.{index}" for index in range(layers)):
        for module, inputs, outputs, bias in LINEARS:
            modules[f"encoder.{block}.{module}"] = _linear(
                graph, f"{block}.{module}", inputs * width, outputs * width, bias
            )
        memory = f"{block}.attn.fsmn_block"
        modules[f"encoder.{memory}"] = _conv(graph, memory, (width, 1, FSMN_KERNEL), False)
        for norm in NORMS:
            modules[f"encoder.{block}.{norm}"] = LayerNorm(graph, f"{block}.{norm}").tensors(width)
    modules[OFFICIAL_PROJECTION] = _linear(graph, PROJECTION, width, DIGITS, True)

    config = {
        "n_mels": mels,
        "n_audio_state": width,
        "n_audio_head": _heads(graph, layers, width),
        "n_audio_layer": layers,
        "attn_ln_eps": _epsilon(graph, layers, "attn_ln"),
        "mlp_ln_eps": _epsilon(graph, layers, "mlp_ln"),
    }
    graph.check_config(SpeechTokenizerConfig, config)
    state = {f"{module}.{name}": tensor for module, tensors in modules.items() for name, tensor in tensors.items()}
    return state, config
