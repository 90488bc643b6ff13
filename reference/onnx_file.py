"""Reads official ONNX files with the `onnx` package, along the modules of the reference's own networks."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

CONVOLUTIONS, BATCH_NORMS = (nn.Conv1d, nn.Conv2d), (nn.BatchNorm1d, nn.BatchNorm2d)


class OnnxFile:
    """Stored tensors by what consumes them: a module's path, an operator, and the place among its inputs.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not an ONNX file.
    """

    def __init__(self, path: Path) -> None:
        self.path, model = path, onnx.ModelProto()
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                with memoryview(content) as view:
                    model.ParseFromString(view)  # type: ignore[arg-type]
            except DecodeError as error:
                raise ValueError(f"{path}: not an ONNX file ({error})") from error
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._same: dict[str, str] = {}
        self.nodes: dict[tuple[str, str], list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            if node.op_type == "Constant":
                self._stored[node.output[0]] = node.attribute[0].t
            elif node.op_type == "Identity":  # an exporter stores equal tensors once
                self._same[node.output[0]] = node.input[0]
            else:
                self.nodes.setdefault((_module(node.name), node.op_type), []).append(node)

    def stored(self, module: str, op: str, place: int, nth: int = 0) -> onnx.TensorProto | None:
        """What a node of the operator in a module gets as its input at `place`; None if that is computed.

        `nth` is the place of the node among those of that operator there, in the order of the graph.
        """
        nodes = self.nodes.get((module, op), [])[nth:]
        name = nodes[0].input[place] if nodes and place < len(nodes[0].input) else ""
        while name in self._same:
            name = self._same[name]
        return self._stored.get(name)

    def reader(
        self, module: str, op: str, place: int, *, nth: int = 0, transposed: bool = False
    ) -> Callable[[], Tensor]:
        """Reads such a tensor.

        Raises:
            ValueError: there is none.
        """
        tensor = self.stored(module, op, place, nth)
        if tensor is None:
            raise ValueError(f"{self.path}: node {module} ({op}) has no stored input {place}")
        return lambda: _tensor(tensor).T.contiguous() if transposed else _tensor(tensor)

    def shape(self, module: str, op: str = "Conv", place: int = 1) -> tuple[int, ...]:
        """The shape of such a tensor. Raises ValueError if there is none."""
        tensor = self.stored(module, op, place)
        if tensor is None:
            raise ValueError(f"{self.path}: node {module} ({op}) has no stored input {place}")
        return tuple(tensor.dims)

    def number(self, module: str, op: str, place: int) -> int:
        """Such a tensor, of one whole number. Raises ValueError if there is none."""
        return int(self.reader(module, op, place)().item())

    def epsilon(self, module: str) -> float:
        """Of the layer norm in a module, as the shortest decimal that float32 distinguishes."""
        if (module, "Sqrt") in self.nodes:  # taken apart, see `_layer_norm`
            return float(str(np.float32(self.reader(module, "Add", 1)().item())))
        (node,) = self.nodes[module, "LayerNormalization"]
        found = [attribute.f for attribute in node.attribute if attribute.name == "epsilon"]
        return float(str(np.float32(found[0] if found else 1e-5)))

    def count(self, pattern: str) -> int:
        """How many different beginnings of module paths fit a regular expression."""
        return len({match[0] for module, _ in self.nodes if (match := re.match(pattern, module))})


def _tensor(stored: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(numpy_helper.to_array(stored).copy())


def _module(node: str) -> str:
    """`/head/layer1/layer1.0/conv1/Conv` -> `head.layer1.0.conv1`: a container's child repeats its name."""
    return re.sub(r"\b(\w+)\.\1\.(\d+)", r"\1.\2", ".".join(node.split("/")[1:-1]))


def read_graph(file: OnnxFile, network: nn.Module, names: Mapping[str, str]) -> dict[str, Callable[[], Tensor]]:
    """Official key -> reads the tensor, for every one that the modules of `network` hold.

    Args:
        file: the graph.
        network: of the official paths; its own tensors are not read, and may be on the meta device.
        names: beginning of an official path -> what the graph has there, where they differ.

    Raises:
        ValueError: a node is missing.
    """
    readers: dict[str, Callable[[], Tensor]] = {}
    folded = ""
    for path, module in network.named_modules():
        found: dict[str, Callable[[], Tensor]] = {}
        scope = next((new + path[len(old) :] for old, new in names.items() if path.startswith(old)), path)
        if isinstance(module, CONVOLUTIONS):
            folded, found = scope, _convolution(file, scope, module.bias is not None)
        elif isinstance(module, BATCH_NORMS):
            found = _batch_norm(file, scope, folded, module)
        elif isinstance(module, nn.Linear):
            found = _linear(file, scope, module.bias is not None)
        elif isinstance(module, nn.LayerNorm):
            found = _layer_norm(file, scope)
        readers |= {f"{path}.{name}": read for name, read in found.items()}
    return readers


def _convolution(file: OnnxFile, scope: str, bias: bool) -> dict[str, Callable[[], Tensor]]:
    found = {"weight": file.reader(scope, "Conv", 1)}
    return found | ({"bias": file.reader(scope, "Conv", 2)} if bias else {})


def _linear(file: OnnxFile, scope: str, bias: bool) -> dict[str, Callable[[], Tensor]]:
    """The weight is stored as [in, out]; the bias is that input of the sum which is stored."""
    found = {"weight": file.reader(scope, "MatMul", 1, transposed=True)}
    place = 0 if file.stored(scope, "Add", 0) is not None else 1
    return found | ({"bias": file.reader(scope, "Add", place)} if bias else {})


def _layer_norm(file: OnnxFile, scope: str) -> dict[str, Callable[[], Tensor]]:
    """Its tensors; before opset 17 a layer norm is written as nine operators, of which three get something stored.

    x + epsilon is the first sum; the product by the weight comes before the sum with the bias.
    """
    if (scope, "Sqrt") in file.nodes:
        return {"weight": file.reader(scope, "Mul", 1), "bias": file.reader(scope, "Add", 1, nth=1)}
    return {name: file.reader(scope, "LayerNormalization", at) for at, name in enumerate(("weight", "bias"), 1)}


def _batch_norm(file: OnnxFile, scope: str, folded: str, module: Any) -> dict[str, Callable[[], Tensor]]:
    """Its tensors; of one that the exporter folded into the convolution before it, such as only add that one's bias."""
    names = ("weight", "bias", "running_mean", "running_var")
    counter = {"num_batches_tracked": lambda: torch.zeros((), dtype=torch.int64)}
    if (scope, "BatchNormalization") in file.nodes:
        found = {name: file.reader(scope, "BatchNormalization", place) for place, name in enumerate(names, start=1)}
        return {name: read for name, read in found.items() if getattr(module, name) is not None} | counter
    bias = file.reader(folded, "Conv", 2)
    return counter | {
        "weight": lambda: torch.ones_like(bias()),
        "bias": bias,
        "running_mean": lambda: torch.zeros_like(bias()),
        "running_var": lambda: torch.full_like(bias(), 1 - module.eps),
    }
