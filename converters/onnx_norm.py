"""Reads a layer norm out of an ONNX graph: one node or, for opsets below 17, the arithmetic that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from converters.onnx_graph import OnnxGraph, attribute
from converters.onnx_wire import Node
from mlx_cosyvoice.quoting import plain

WHOLE = "LayerNormalization"
#: The operators of the arithmetic that tell its tensors; it has two sums.
PRODUCT, SUM, ROOT = "Mul", "Add", "Sqrt"


class Place(NamedTuple):
    """A node, and which of its inputs is meant."""

    node: Node
    position: int


class LayerNorm:
    """The layer norm in a module.

    Raises:
        OnnxLayoutError: there is none, or its nodes are not connected as a layer norm's.
    """

    def __init__(self, graph: OnnxGraph, module: str) -> None:
        self.graph, self.module = graph, module
        if not graph.nodes(module, ROOT):
            node = graph.node(module, WHOLE)
            self.weight, self.bias, self.added = Place(node, 1), Place(node, 2), None
        else:
            self.weight = self._stored_in(graph.node(module, PRODUCT))
            self.bias = self._stored_in(self._sum(lambda node: self._follows(self.weight.node, node)))
            root = graph.node(module, ROOT)
            self.added = self._stored_in(self._sum(lambda node: self._follows(node, root)))

    def tensors(self, width: int) -> dict[str, np.ndarray]:
        """`weight` and `bias`, both [width] float32. Raises OnnxLayoutError if they are not stored so."""
        places = {"weight": self.weight, "bias": self.bias}
        return {name: self.graph.weight(*place, (width,)) for name, place in places.items()}

    def epsilon(self) -> float:
        """What is added to the variance; 1e-5 where the node does not say."""
        if self.added is None:
            return attribute(self.weight.node, "epsilon", 1e-5)
        return self.graph.number(*self.added)

    def _sum(self, is_it: Callable[[Node], bool]) -> Node:
        found = [node for node in self.graph.nodes(self.module, SUM) if is_it(node)]
        if len(found) != 1:
            raise self.graph.wrong(f"{plain(self.module, 80)} ({SUM}) is not the sum of a layer norm")
        return found[0]

    @staticmethod
    def _follows(first: Node, second: Node) -> bool:
        """Whether one reads what the other gives."""
        return not set(first.output).isdisjoint(second.input)

    def _stored_in(self, node: Node) -> Place:
        """The input that the file holds."""
        return Place(node, 0 if self.graph.is_stored(node, 0) else 1)
