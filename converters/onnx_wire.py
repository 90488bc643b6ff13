"""Reads the part of ONNX's protocol buffers that weights need, in place: nothing is allocated that a file only claims.

The protobuf library builds every message before one can look at it, which takes a hundred times the size of a file of
empty ones. Here the file is mapped, messages are walked field by field, and tensors are places in the file.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mlx_cosyvoice.quoting import quoted
from mlx_cosyvoice.strict import BadFileError, open_regular

#: Fields of messages. That of the speaker encoder has 17,000.
MAX_FIELDS = 150_000
MAX_AXES = 8

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

#: Numbers of fields, from onnx.proto.
_GRAPH = 7
_NODE, _INITIALIZER = 1, 5
_INPUT, _OUTPUT, _NAME, _OP, _ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_FLOAT, _ATTRIBUTE_TENSOR = 1, 2, 5
_DIMS, _TYPE, _FLOATS, _INT64S, _TENSOR_NAME, _RAW, _DOUBLES, _EXTERNAL, _LOCATION = 1, 2, 4, 7, 8, 9, 10, 13, 14

#: ONNX's number of a type -> NumPy's.
TYPES = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8", 12: "<u4",
    13: "<u8",
}  # fmt: skip

#: Where values stand that are not in `raw_data`: the field that holds them as they are in memory.
_TYPED = {1: _FLOATS, 11: _DOUBLES}


@dataclass
class Tensor:
    """A stored tensor: its shape, and where its values lie in the file."""

    name: str = ""
    dims: list[int] = field(default_factory=list)
    type: int = 0
    #: Field -> its pieces, as (first byte, end).
    places: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    external: bool = False


@dataclass
class Node:
    """A node: names, and the attributes that are a float or a tensor."""

    name: str = ""
    op_type: str = ""
    input: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    attributes: dict[str, float | Tensor] = field(default_factory=dict)


class OnnxFile:
    """The nodes and stored tensors of a file, which stays mapped.

    Raises:
        BadFileError: not such a file, damaged or cut off, with more fields than such a file has, or with tensors
            whose data lie in other files; the tensor is named.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        with open_regular(path) as file:
            self.size = file.seek(0, 2)
            if not self.size:
                raise BadFileError("it is empty")
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._fields = 0
        self.nodes: list[Node] = []
        self.tensors: list[Tensor] = []
        graphs = [place for number, place in self._walk(0, self.size) if number == _GRAPH]
        if len(graphs) != 1:
            raise BadFileError(f"it has {len(graphs)} graphs, not one")
        for number, place in self._walk(*self._place(graphs[0])):
            if number == _NODE:
                self.nodes.append(self._node(place))
            elif number == _INITIALIZER:
                self.tensors.append(self._tensor(place))

    def _walk(self, start: int, end: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
        """Number and value of each field of a message: a whole number, or the place of what is longer."""
        while start < end:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise BadFileError(f"it has more than {MAX_FIELDS} fields")
            key, start = self._varint(start, end)
            number, kind = key >> 3, key & 7
            value: int | tuple[int, int]
            if kind == _VARINT:
                value, start = self._varint(start, end)
            elif kind in (_FIXED32, _FIXED64, _BYTES):
                length = 4 if kind == _FIXED32 else 8
                if kind == _BYTES:
                    length, start = self._varint(start, end)
                if length > end - start:
                    raise BadFileError(f"a field of {length} bytes at {start} does not fit what it stands in")
                value, start = (start, start + length), start + length
            else:
                raise BadFileError(f"there is no field of kind {kind}, as stands at {start}")
            yield number, value

    def _varint(self, start: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if start >= end:
                break
            byte = self._data[start]
            start += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (1 << 64) - 1, start
        raise BadFileError(f"there is no number at {start}")

    @staticmethod
    def _place(value: int | tuple[int, int]) -> tuple[int, int]:
        if isinstance(value, int):
            raise BadFileError("a number stands in the place of a message")
        return value

    def _text(self, value: int | tuple[int, int]) -> str:
        start, end = self._place(value)
        try:
            return self._data[start:end].decode()
        except UnicodeDecodeError as error:
            raise BadFileError(f"a name at {start} is not UTF-8") from error

    def _node(self, value: int | tuple[int, int]) -> Node:
        node = Node()
        for number, part in self._walk(*self._place(value)):
            if number == _NAME:
                node.name = self._text(part)
            elif number == _OP:
                node.op_type = self._text(part)
            elif number in (_INPUT, _OUTPUT):
                (node.input if number == _INPUT else node.output).append(self._text(part))
            elif number == _ATTRIBUTE:
                self._attribute(node, part)
        return node

    def _attribute(self, node: Node, value: int | tuple[int, int]) -> None:
        name, content = "", None
        for number, part in self._walk(*self._place(value)):
            if number == _ATTRIBUTE_NAME:
                name = self._text(part)
            elif number == _ATTRIBUTE_TENSOR:
                content = self._tensor(part)
            elif number == _ATTRIBUTE_FLOAT:
                start, end = self._place(part)
                if end - start != 4:
                    raise BadFileError(f"the attribute {quoted(name)} of node {quoted(node.name)} is no float")
                content = struct.unpack("<f", self._data[start:end])[0]
        if name in node.attributes:
            raise BadFileError(f"node {quoted(node.name)} has the attribute {quoted(name)} twice")
        if content is not None:
            node.attributes[name] = content

    def _tensor(self, value: int | tuple[int, int]) -> Tensor:
        tensor = Tensor()
        location = ""
        for number, part in self._walk(*self._place(value)):
            if number == _TENSOR_NAME:
                tensor.name = self._text(part)
            elif number == _DIMS:
                tensor.dims += self._numbers(part)
            elif number == _TYPE:
                tensor.type = part if isinstance(part, int) else 0
            elif number == _EXTERNAL:
                tensor.external, location = True, location or self._location(part)
            elif number == _LOCATION:
                tensor.external |= part != 0
            elif not isinstance(part, int):
                tensor.places.setdefault(number, []).append(part)
        if tensor.external:
            raise BadFileError(
                f"the data of tensor {quoted(tensor.name)} lie in another file, {quoted(location)} (external data): "
                "nothing is read but the file itself; save the model with its data inside"
            )
        if len(tensor.dims) > MAX_AXES or any(size >= 1 << 40 for size in tensor.dims):
            raise BadFileError(f"tensor {quoted(tensor.name)} has the shape {quoted(tensor.dims)}")
        return tensor

    def _location(self, value: int | tuple[int, int]) -> str:
        parts = dict(self._walk(*self._place(value)))
        texts = [self._text(parts[number]) if number in parts else "" for number in (1, 2)]
        return texts[1] if texts[0] == "location" else ""

    def _numbers(self, value: int | tuple[int, int]) -> list[int]:
        """A repeated whole number: one, or several in a piece."""
        if isinstance(value, int):
            return [value]
        numbers: list[int] = []
        start, end = value
        while start < end and len(numbers) <= MAX_AXES:
            number, start = self._varint(start, end)
            numbers.append(number)
        return numbers

    def values(self, tensor: Tensor) -> np.ndarray:
        """The values of a tensor, in place.

        Raises:
            BadFileError: of a type that is not known, or with more or fewer bytes than its shape needs.
        """
        if tensor.type not in TYPES:
            raise BadFileError(f"is of a type that is not supported, number {tensor.type}")
        dtype = np.dtype(TYPES[tensor.type])
        count = math.prod(tensor.dims)
        if tensor.type == 7 and _INT64S in tensor.places and _RAW not in tensor.places and count <= MAX_AXES:
            numbers = [number for place in tensor.places[_INT64S] for number in self._numbers(place)]
            if len(numbers) == count:
                return np.array(numbers, np.uint64).astype(np.int64).reshape(tensor.dims)
        places = tensor.places.get(_RAW) or tensor.places.get(_TYPED.get(tensor.type, 0), [])
        nbytes = sum(end - start for start, end in places)
        if nbytes != count * dtype.itemsize or len(places) > 1:
            raise BadFileError(f"has {nbytes} bytes of data in {len(places)} pieces, not {count * dtype.itemsize}")
        if not count:
            return np.empty(tensor.dims, dtype)
        return np.frombuffer(self._data, dtype, count, places[0][0]).reshape(tensor.dims)
