"""Hostile ONNX files: protocol buffers that are none, and graphs that are not the network's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.harness import Inputs

CAMPPLUS, TOKENIZER = "campplus.onnx", "speech_tokenizer_v2.onnx"
INPUTS = Inputs()


def varint(number: int) -> bytes:
    result = b""
    while number > 127:
        result, number = result + bytes([number & 127 | 128]), number >> 7
    return result + bytes([number])


def message(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def _graph(content: bytes) -> bytes:
    return message(7, content)


def _whole(path: Path, content: bytes) -> None:
    path.write_bytes(content)


_NODE = message(1, message(3, b"/x/Conv") + message(4, b"Conv"))

for _file in (CAMPPLUS, TOKENIZER):
    INPUTS.add_each(_file, "wire", {
        "empty-model": b"\x08\x07",
        "text": b"hello\n",
        "binary": bytes(range(256)),
        "zeros": bytes(1000),
        "no-graph": message(2, b"someone"),
        "two-graphs": _graph(_NODE) * 2,
        "no-nodes": _graph(b""),
        "one-node": _graph(_NODE),
        "many-nodes": _graph(b"\x0a\x00" * 2_000_000),
        "many-attributes": _graph(message(1, b"\x2a\x00" * 2_000_000)),
        "many-inputs": _graph(message(1, b"\x0a\x00" * 2_000_000)),
        "many-tensors": _graph(b"\x2a\x00" * 2_000_000),
        "many-sizes": _graph(_NODE + message(5, message(1, b"\x01" * 2_000_000))),
        "endless-number": b"\xff" * 1000,
        "length": b"\x3a\xff\xff\xff\xff\x7f" + _NODE,
        "length-of-all": b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + _NODE,
        "cut": _graph(_NODE * 100)[:-3],
        "group": b"\x3b" + _NODE + b"\x3c",
        "kind": b"\x3f",
        "number-for-graph": b"\x38\x01",
        "number-for-node": _graph(b"\x08\x01"),
        "number-for-name": _graph(message(1, b"\x18\x01")),
        "fixed-for-graph": b"\x39" + bytes(8),
        "double-for-float": _graph(message(1, message(3, b"/x/Conv") + message(5, b"\x11" + bytes(8)))),
        "not-text": _graph(message(1, message(3, b"\xff\xfe"))),
        "name": _graph(message(1, message(3, b"x" * 4_000_000) + message(4, b"Conv"))),
        "escape": _graph(message(1, message(3, b"/\x1b[2J/Conv") + message(4, b"Conv"))),
        "sizes": _graph(_NODE + message(5, message(1, varint(2**63)))),
        "sizes-below-zero": _graph(_NODE + message(5, message(1, varint(2**64 - 1)))),
        "nodes-without-outputs": _graph(message(1, message(4, b"Identity")) + message(1, message(4, b"Constant"))),
    }, _whole, _file)  # fmt: skip


def _edited(path: Path, edit: Callable[[onnx.GraphProto], Any]) -> None:
    model = onnx.load(path, load_external_data=False)
    edit(model.graph)
    path.write_bytes(model.SerializeToString())


def _node(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    return next(node for node in graph.node if node.name == name)


def _tensor(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in graph.initializer if tensor.name == name)


def _weight(graph: onnx.GraphProto, node: str, position: int = 1) -> onnx.TensorProto:
    return _tensor(graph, _node(graph, node).input[position])


def _outside(tensor: onnx.TensorProto, location: str, flag: bool = True) -> None:
    tensor.ClearField("raw_data")
    if flag:
        tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


_TDNN, _HEAD = "/xvector/tdnn/linear/Conv", "/head/conv1/Conv"
_GROWTH = "/xvector/block1/tdnnd1/cam_layer/linear_local/Conv"
_NORM = "/xvector/block1/tdnnd1/nonlinear1/batchnorm/BatchNormalization"


def _set_epsilon(value: float, node: str) -> Callable[[onnx.GraphProto], Any]:
    def edit(graph: onnx.GraphProto) -> None:
        for one in graph.node:
            if node in one.name:
                next(entry for entry in one.attribute if entry.name == "epsilon").f = value

    return edit


def _values(change: Callable[[np.ndarray], np.ndarray], node: str = _TDNN) -> Callable[[onnx.GraphProto], Any]:
    def edit(graph: onnx.GraphProto) -> None:
        tensor = _weight(graph, node)
        tensor.CopyFrom(
            numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(tensor))), tensor.name)
        )

    return edit


def _circle(graph: onnx.GraphProto) -> None:
    _node(graph, _TDNN).input[1] = "a"
    graph.node.append(helper.make_node("Identity", ["b"], ["a"], name="Identity_a"))
    graph.node.append(helper.make_node("Identity", ["a"], ["b"], name="Identity_b"))


def _renamed(old: str, new: str) -> Callable[[onnx.GraphProto], Any]:
    def edit(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            node.name = node.name.replace(old, new)

    return edit


def _chain(graph: onnx.GraphProto) -> None:
    _node(graph, _TDNN).input[1] = "a0"
    nodes = [helper.make_node("Identity", [f"a{n + 1}"], [f"a{n}"]) for n in range(20_000)]
    graph.node.extend(nodes)


INPUTS.add_each(CAMPPLUS, "graph", {
    "short-data": lambda graph: _weight(graph, _TDNN).__setattr__("raw_data", b"1234"),
    "long-data": lambda graph: _weight(graph, _TDNN).__setattr__("raw_data", _weight(graph, _TDNN).raw_data + b"1234"),
    "no-data": lambda graph: _weight(graph, _TDNN).ClearField("raw_data"),
    "huge-shape": lambda graph: _weight(graph, _TDNN).dims.__setitem__(0, 2**39),
    "no-width": lambda graph: _weight(graph, _GROWTH).dims.__setitem__(0, 0),
    "wide-growth": lambda graph: _weight(graph, _GROWTH).dims.__setitem__(0, 131072),
    "many-axes": lambda graph: _weight(graph, _TDNN).dims.extend([1] * 50),
    "kind": lambda graph: _weight(graph, _TDNN).__setattr__("data_type", 8),
    "kind-unknown": lambda graph: _weight(graph, _TDNN).__setattr__("data_type", 9999),
    "whole-numbers": _values(lambda values: values.astype(np.int32)),
    "nan": _values(lambda values: values * np.nan),
    "transposed": _values(lambda values: values.transpose(1, 0, 2)),
    "circle": _circle,
    "chain": _chain,
    "tensor-twice": lambda graph: graph.initializer.add().CopyFrom(_weight(graph, _TDNN)),
    "node-twice": lambda graph: graph.node.add().CopyFrom(_node(graph, _TDNN)),
    "layer-number": _renamed("block1/tdnnd12/", "block1/tdnnd1000000000/"),
    "layer-digits": _renamed("block1/tdnnd12/", f"block1/tdnnd{'9' * 5000}/"),
    "layer-twice": _renamed("block1/tdnnd12/", "block1/tdnnd012/"),
    "epsilon": _set_epsilon(0.5, _NORM),
    "epsilon-nan": _set_epsilon(float("nan"), _NORM),
    "name": _renamed("/head/conv1/Conv", "x" * 1_000_000),
    "no-names": _renamed("/", ""),
    "no-initializers": lambda graph: graph.ClearField("initializer"),
    "no-inputs": lambda graph: _node(graph, _TDNN).ClearField("input"),
}, _edited, "campplus.onnx")  # fmt: skip

INPUTS.add_each(CAMPPLUS, "graph", {
    "outside": lambda graph: _outside(_weight(graph, _TDNN), "weights.bin"),
    "outside-absolute": lambda graph: _outside(_weight(graph, _TDNN), "/etc/passwd"),
    "outside-above": lambda graph: _outside(_weight(graph, _TDNN), "../../secret\x1b[2J"),
    "outside-without-flag": lambda graph: _outside(_weight(graph, _TDNN), "weights.bin", flag=False),
    "outside-unused": lambda graph: _outside(graph.initializer.add(name="unused"), "weights.bin"),
}, _edited, "campplus.onnx", "lie in another file")  # fmt: skip


def _heads(value: Any) -> Callable[[onnx.GraphProto], Any]:
    def edit(graph: onnx.GraphProto) -> None:
        for index in range(2):
            name = _node(graph, f"/blocks.{index}/attn/Concat").input[2]
            constant = next(node for node in graph.node if name in node.output)
            constant.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array(value)))

    return edit


def _endless_blocks(graph: onnx.GraphProto) -> None:
    """Blocks that all use the tensors of the first one."""
    first = [node for node in graph.node if node.name.startswith("/blocks.0/")]
    for index in range(2, 400):
        for node in first:
            copy = graph.node.add()
            copy.CopyFrom(node)
            copy.name = node.name.replace("/blocks.0/", f"/blocks.{index}/")
            if copy.op_type == "Constant":
                copy.output[0] += f"_{index}"


INPUTS.add_each(TOKENIZER, "graph", {
    "no-heads": _heads([0]),
    "minus-heads": _heads([-1]),
    "odd-heads": _heads([3]),
    "many-heads": _heads([2**62]),
    "two-heads": _heads([2, 2]),
    "heads-fraction": _heads([2.0]),
    "heads-nan": _heads([float("nan")]),
    "heads-list": _heads(list(range(1000))),
    "epsilon": _set_epsilon(1e10, "_ln/"),
    "no-epsilon": _set_epsilon(0.0, "_ln/"),
    "minus-epsilon": _set_epsilon(-1e-6, "_ln/"),
    "epsilon-nan": _set_epsilon(float("nan"), "_ln/"),
    "epsilon-infinite": _set_epsilon(float("inf"), "_ln/"),
    "block-number": _renamed("/blocks.1/", "/blocks.1000000000/"),
    "block-digits": _renamed("/blocks.1/", f"/blocks.{'9' * 5000}/"),
    "endless-blocks": _endless_blocks,
    "infinite": _values(lambda values: values + np.inf, "/conv1/Conv"),
    "flat": lambda graph: _weight(graph, "/conv1/Conv").dims.__setitem__(2, 0),
    "outside": lambda graph: _outside(_weight(graph, "/conv1/Conv"), "weights.bin"),
    "outside-constant": lambda graph: _outside(
        next(node for node in graph.node if node.op_type == "Constant").attribute[0].t, "constant.bin"
    ),
}, _edited, "speech_tokenizer_v2.onnx")  # fmt: skip

for _name in (CAMPPLUS, TOKENIZER):
    INPUTS.add_each(_name, "bytes", {
        "cut": 0.5,
        "cut-early": 0.01,
    }, lambda path, share: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)]), _name)  # fmt: skip
