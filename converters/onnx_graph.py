"""Reads weights out of an ONNX graph by what consumes them.

Exporters give most weights numbered names (`onnx::MatMul_2228`) that change with every version. What stays is the
scope of the node that uses a weight (`/blocks.0/attn/query/MatMul`), which is the path of the PyTorch module, and the
input at which the weight enters.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper


class OnnxLayoutError(ValueError):
    """A file that is not ONNX, or whose graph is not the expected network; the message names the file and the node."""


def module_of(node_name: str) -> str:
    """The module path in a node's name: `/head/layer1/layer1.0/conv1/Conv` -> `head.layer1.0.conv1`.

    A container's child repeats the container's name, which the module path has once.
    """
    path: list[str] = []
    for scope in node_name.strip("/").split("/")[:-1]:
        if path and scope.startswith(path[-1] + "."):
            path[-1] = scope
        else:
            path.append(scope)
    return ".".join(path)


class OnnxGraph:
    """The nodes of an ONNX file by module and operator, and the tensors stored in it."""

    def __init__(self, path: str | Path, network: str) -> None:
        """Read the file. `network` says in messages what it should hold.

        Raises:
            OSError: the file cannot be read.
            OnnxLayoutError: it is not an ONNX file, or a damaged or truncated one.
        """
        self.path, self.network = Path(path), network
        try:
            graph = onnx.load(self.path, format="protobuf", load_external_data=False).graph
        except DecodeError as error:
            raise self._not_onnx() from error
        # damaged text fields are read as bytes
        if not graph.node or not all(isinstance(node.name, str) for node in graph.node):
            raise self._not_onnx()
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._alias: dict[str, str] = {}
        self._nodes: dict[tuple[str, str], list[onnx.NodeProto]] = {}
        for node in graph.node:
            if node.op_type == "Identity":  # exporters store equal tensors once
                self._alias[node.output[0]] = node.input[0]
            elif node.op_type == "Constant" and node.attribute[0].type == onnx.AttributeProto.TENSOR:
                self._stored[node.output[0]] = node.attribute[0].t
            else:
                self._nodes.setdefault((module_of(node.name), node.op_type), []).append(node)

    def _not_onnx(self) -> OnnxLayoutError:
        size = self.path.stat().st_size
        return OnnxLayoutError(f"{self.path}: not an ONNX file, or a damaged or cut one ({size} bytes). Get it again.")

    def wrong(self, what: str) -> OnnxLayoutError:
        """The error for a graph that is not the expected one."""
        return OnnxLayoutError(f"{self.path}: not the graph of {self.network}: {what}")

    def modules(self, op: str) -> list[str]:
        """The modules that contain a node of this operator, in graph order."""
        return [module for module, kind in self._nodes if kind == op]

    def nodes(self, module: str, op: str) -> list[onnx.NodeProto]:
        """The nodes of this operator right in this module, in graph order; may be empty."""
        return self._nodes.get((module, op), [])

    def require(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Check that each (module, operator) has a node, and name those that have none.

        Raises:
            OnnxLayoutError: a node is missing.
        """
        missing = [f"{module} ({op})" for module, op in wanted if (module, op) not in self._nodes]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise self.wrong(f"it has no node for {', '.join(missing[:5])}{more}")

    def node(self, module: str, op: str) -> onnx.NodeProto:
        """The one node of this operator in this module.

        Raises:
            OnnxLayoutError: there is none, or more than one.
        """
        self.require([(module, op)])
        found = self._nodes[module, op]
        if len(found) > 1:
            raise self.wrong(f"{module} has {len(found)} {op} nodes, expected one")
        return found[0]

    def _tensor(self, node: onnx.NodeProto, position: int) -> onnx.TensorProto | None:
        name = node.input[position] if position < len(node.input) else ""
        while name in self._alias:
            name = self._alias[name]
        return self._stored.get(name)

    def is_stored(self, node: onnx.NodeProto, position: int) -> bool:
        """Whether this input is a tensor that the file holds (and not one that the graph computes)."""
        return self._tensor(node, position) is not None

    def shape(self, node: onnx.NodeProto, position: int, rank: int | None = None) -> tuple[int, ...]:
        """The shape of a stored input. Raises OnnxLayoutError when it is not stored, or not of this rank."""
        tensor = self._tensor(node, position)
        if tensor is None:
            raise self.wrong(f"input {position} of node {node.name} is not a stored tensor")
        shape = tuple(tensor.dims)
        if rank is not None and len(shape) != rank:
            raise self.wrong(f"input {position} of node {node.name} has shape {list(shape)}, expected {rank} axes")
        return shape

    def values(self, node: onnx.NodeProto, position: int) -> np.ndarray:
        """A stored input as the file has it. Raises OnnxLayoutError when it is not stored or its data are cut short."""
        shape = self.shape(node, position)
        tensor: Any = self._tensor(node, position)
        try:
            return numpy_helper.to_array(tensor).reshape(shape)
        except (ValueError, TypeError) as error:
            raise self.wrong(f"the data of tensor {tensor.name!r} ({list(shape)}) are incomplete: {error}") from error

    def weight(self, node: onnx.NodeProto, position: int, shape: tuple[int, ...]) -> np.ndarray:
        """A stored input as a new float32 array.

        Raises:
            OnnxLayoutError: the input is not a stored tensor of floats, or its shape is not `shape`.
        """
        found = self.shape(node, position)
        if found != shape:
            raise self.wrong(f"input {position} of node {node.name} has shape {list(found)}, expected {list(shape)}")
        values = self.values(node, position)
        if not np.issubdtype(values.dtype, np.floating):
            raise self.wrong(f"input {position} of node {node.name} is of type {values.dtype}, expected floats")
        return np.array(values, np.float32, order="C")


def attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    """A float attribute of a node, as the shortest decimal that float32 tells apart (1e-06, not 9.99999997e-07)."""
    for entry in node.attribute:
        if entry.name == name:
            return float(str(np.float32(entry.f)))
    return default
