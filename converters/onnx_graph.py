"""Reads weights out of an ONNX graph by what consumes them.

Exporters give most weights numbered names (`onnx::MatMul_2228`) that change with every version. What stays is the
scope of the node that uses a weight (`/blocks.0/attn/query/MatMul`), which is the path of the PyTorch module, and the
input at which the weight enters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.onnx_wire import Node, OnnxFile, Tensor
from mlx_cosyvoice.config import FieldError, from_dict
from mlx_cosyvoice.quoting import plain, quoted
from mlx_cosyvoice.strict import BadFileError

#: An exporter stores equal tensors once. All that are read are at most so many files large.
MAX_SHARING = 2


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
            self._file = OnnxFile(self.path)
        except BadFileError as error:
            raise self._not_onnx(str(error)) from error
        if not self._file.nodes:
            raise self._not_onnx("it has no nodes")
        self._stored: dict[str, Tensor] = {}
        self._alias: dict[str, str] = {}
        self._nodes: dict[tuple[str, str], list[Node]] = {}
        self._nbytes = 0
        for tensor in self._file.tensors:
            self._store(tensor.name, tensor)
        for node in self._file.nodes:
            value = node.attributes.get("value")
            if node.op_type == "Identity" and node.input and node.output:  # exporters store equal tensors once
                self._alias[node.output[0]] = node.input[0]
            elif node.op_type == "Constant" and node.output and isinstance(value, Tensor):
                self._store(node.output[0], value)
            else:
                self._nodes.setdefault((module_of(node.name), node.op_type), []).append(node)

    def _store(self, name: str, tensor: Tensor) -> None:
        if name in self._stored:
            raise self.wrong(f"two tensors have the name {quoted(name)}")
        self._stored[name] = tensor

    def _not_onnx(self, why: str) -> OnnxLayoutError:
        size = self.path.stat().st_size
        return OnnxLayoutError(
            f"{self.path}: not an ONNX file, or a damaged or cut one ({size} bytes): {why}. Get it again."
        )

    def wrong(self, what: str) -> OnnxLayoutError:
        """The error for a graph that is not the expected one."""
        return OnnxLayoutError(f"{self.path}: not the graph of {self.network}: {what}")

    def check_config(self, cls: type, fields: Mapping[str, Any]) -> None:
        """Hold the sizes that were read off the graph to what the configuration allows.

        Raises:
            OnnxLayoutError: one is not allowed.
        """
        try:
            from_dict(cls, fields)
        except FieldError as error:
            raise self.wrong(str(error)) from error

    def modules(self, op: str) -> list[str]:
        """The modules that contain a node of this operator, in graph order."""
        return [module for module, kind in self._nodes if kind == op]

    def nodes(self, module: str, op: str) -> list[Node]:
        """The nodes of this operator right in this module, in graph order; may be empty."""
        return self._nodes.get((module, op), [])

    def require(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Check that each (module, operator) has a node, and name those that have none.

        Raises:
            OnnxLayoutError: a node is missing.
        """
        missing = [plain(f"{module} ({op})", 120) for module, op in wanted if (module, op) not in self._nodes]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise self.wrong(f"it has no node for {', '.join(missing[:5])}{more}")

    def node(self, module: str, op: str) -> Node:
        """The one node of this operator in this module.

        Raises:
            OnnxLayoutError: there is none, or more than one.
        """
        self.require([(module, op)])
        found = self._nodes[module, op]
        if len(found) > 1:
            raise self.wrong(f"{plain(module, 80)} has {len(found)} {op} nodes, expected one")
        return found[0]

    def _tensor(self, node: Node, position: int) -> Tensor | None:
        name = node.input[position] if position < len(node.input) else ""
        hops = 0
        while name in self._alias and hops < len(self._alias):  # they may lead in a circle
            name, hops = self._alias[name], hops + 1
        return self._stored.get(name)

    def is_stored(self, node: Node, position: int) -> bool:
        """Whether this input is a tensor that the file holds (and not one that the graph computes)."""
        return self._tensor(node, position) is not None

    def shape(self, node: Node, position: int, rank: int | None = None) -> tuple[int, ...]:
        """The shape of a stored input. Raises OnnxLayoutError when it is not stored, or not of this rank."""
        tensor = self._tensor(node, position)
        if tensor is None:
            raise self.wrong(f"input {position} of node {plain(node.name, 80)} is not a stored tensor")
        shape = tuple(tensor.dims)
        if rank is not None and (len(shape) != rank or 0 in shape):
            name = plain(node.name, 80)
            raise self.wrong(f"input {position} of node {name} has shape {list(shape)}, expected {rank} axes")
        return shape

    def whole_number(self, node: Node, position: int) -> int:
        """A stored input that is one whole number.

        Raises:
            OnnxLayoutError: it is not stored, or something else.
        """
        tensor = self._tensor(node, position)
        values = self._values(tensor) if tensor is not None and math.prod(tensor.dims) == 1 else None
        if values is None or values.dtype != np.int64:
            raise self.wrong(f"input {position} of node {plain(node.name, 80)} is not one whole number")
        return int(values.item())

    def _values(self, tensor: Tensor) -> np.ndarray:
        try:
            return self._file.values(tensor)
        except BadFileError as error:
            shape = quoted(tensor.dims)
            raise self.wrong(
                f"the data of tensor {quoted(tensor.name)} ({shape}) are incomplete: it {error}"
            ) from error

    def number(self, node: Node, position: int) -> float:
        """A stored input that is one float, as the shortest decimal that float32 tells apart.

        Raises:
            OnnxLayoutError: it is not stored, or something else.
        """
        if math.prod(self.shape(node, position)) != 1:
            raise self.wrong(f"input {position} of node {plain(node.name, 80)} is not one number")
        return shortest(self.weight(node, position, self.shape(node, position)).item())

    def weight(self, node: Node, position: int, shape: tuple[int, ...]) -> np.ndarray:
        """A stored input as float32, read-only: it lies in the mapped file if that has float32, at any byte.

        Raises:
            OnnxLayoutError: the input is not a stored tensor of floats, or its shape is not `shape`.
        """
        found, name = self.shape(node, position), plain(node.name, 80)
        if found != shape:
            raise self.wrong(f"input {position} of node {name} has shape {list(found)}, expected {list(shape)}")
        tensor = self._tensor(node, position)
        assert tensor is not None  # or it had no shape
        values = self._values(tensor)
        if not np.issubdtype(values.dtype, np.floating):
            raise self.wrong(f"input {position} of node {name} is of type {values.dtype}, expected floats")
        self._nbytes += values.nbytes
        if self._nbytes > MAX_SHARING * self._file.size:
            raise self.wrong(f"its tensors are used so often that they are {MAX_SHARING} times as large as the file")
        return np.asarray(values, np.float32, order="C")


def shortest(value: float) -> float:
    """The shortest decimal that float32 tells apart from others: 1e-06, not 9.99999997e-07."""
    return float(str(np.float32(value)))


def attribute(node: Node, name: str, default: float) -> float:
    """A float attribute of a node, in its shortest form."""
    found = node.attributes.get(name, default)
    return shortest(found) if isinstance(found, float) and name in node.attributes else default
