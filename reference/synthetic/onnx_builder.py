"""Builds ONNX graphs whose nodes and tensors are named as PyTorch's exporter names them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from reference.synthetic import recipe

#: Gives a network's tensor by its official key.
Weights = Callable[[str], np.ndarray]

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64


class GraphBuilder:
    """Collects nodes and stored tensors. A scope is a module's place in node names: "/head/conv1", "" for the root."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._named: deque[tuple[str, np.ndarray]] = deque()
        self._anonymous: deque[tuple[str, np.ndarray]] = deque()
        self._count: Counter[str] = Counter()

    def op(self, scope: str, op_type: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node and return its output's name. The second `Add` of a scope is called `Add_1`, and so on."""
        name = f"{scope}/{op_type}"
        count = self._count[name]
        self._count[name] += 1
        if count:
            name = f"{name}_{count}"
        output = output or f"{name}_output_0"
        self._nodes.append(helper.make_node(op_type, list(inputs), [output], name=name, **attributes))
        return output

    def constant(self, scope: str, value: Any, dtype: Any) -> str:
        """Add a Constant node: a tensor that is stored in the graph's nodes, without a name of its own."""
        return self.op(scope, "Constant", value=numpy_helper.from_array(np.array(value, dtype)))

    def named(self, name: str, tensor: np.ndarray) -> str:
        """Store a tensor that keeps its state-dict name."""
        self._named.append((name, tensor))
        return name

    def anonymous(self, op_type: str, number: int, tensor: np.ndarray) -> str:
        """Store a tensor that the exporter computed, hence named by its consumer and a running number."""
        name = f"onnx::{op_type}_{number}"
        self._anonymous.append((name, tensor))
        return name

    def gelu(self, scope: str, x: str) -> str:
        """The exact one: x * (1 + erf(x / sqrt 2)) / 2."""
        erf = self.op(scope, "Erf", self.op(scope, "Div", x, self.constant(scope, np.sqrt(2.0), np.float32)))
        product = self.op(scope, "Mul", x, self.op(scope, "Add", erf, self.constant(scope, 1.0, np.float32)))
        return self.op(scope, "Mul", product, self.constant(scope, 0.5, np.float32))

    def save(
        self,
        path: str | Path,
        inputs: dict[str, tuple[Any, list[Any]]],
        outputs: dict[str, tuple[Any, list[Any]]],
        opset: int,
        ir_version: int,
    ) -> None:
        """Write the file. Inputs and outputs: name -> (element type, shape); a string in a shape is a free size.

        The builder is empty afterwards: each tensor is let go once it is in the message, to hold no two copies.
        """
        model = onnx.ModelProto(ir_version=ir_version, producer_name="mlx-cosyvoice reference")
        model.opset_import.append(helper.make_opsetid("", opset))
        graph = model.graph
        graph.name = "main_graph"
        graph.input.extend(helper.make_tensor_value_info(name, *value) for name, value in inputs.items())
        graph.output.extend(helper.make_tensor_value_info(name, *value) for name, value in outputs.items())
        graph.node.extend(self._nodes)
        self._nodes.clear()
        for stored in (self._named, self._anonymous):
            while stored:
                name, tensor = stored.popleft()
                graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(tensor), name))
        Path(path).write_bytes(model.SerializeToString())


def recipe_weights(network: torch.nn.Module, prefix: str, seed: int) -> Weights:
    """Those of the recipe, made when asked for."""
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    return lambda key: recipe.parameter(prefix + key, shapes[key], seed)
