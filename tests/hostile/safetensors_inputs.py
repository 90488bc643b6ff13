"""Hostile safetensors files: what any header can get wrong, and what voices and speakers can."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.harness import Inputs

#: An escape sequence, a right-to-left override and a line end.
NASTY = "\x1b[2J\x1b]0;owned\x07\u202e\n"

_PLAIN = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
_SECOND = {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}


def packed(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with that header: its JSON text, or an object that becomes one."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a file."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def _one(data: bytes = bytes(8), /, **changes: Any) -> bytes:
    return packed({"flow.a": {**_PLAIN, **changes}}, data)


def _two(first: list[int], second: list[int], data: int = 16) -> bytes:
    entries = {"flow.a": {**_PLAIN, "data_offsets": first}, "flow.b": {**_SECOND, "data_offsets": second}}
    return packed(entries, bytes(data))


def _raw(entry: str) -> bytes:
    return packed(f'{{"flow.a": {entry}}}'.encode(), bytes(8))


def _offsets(text: str) -> bytes:
    return _raw(f'{{"dtype": "F32", "shape": [2], "data_offsets": {text}}}')


def _shape(text: str) -> bytes:
    return _raw(f'{{"dtype": "F32", "shape": {text}, "data_offsets": [0, 8]}}')


#: Whole files, wrong as any safetensors file.
HEADERS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "seven-bytes": lambda: b"\x01" * 7,
    "only-a-length": lambda: (8).to_bytes(8, "little"),
    "web-page": lambda: b"<html><body>404 not found</body></html>",
    "lfs-pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n",
    "zeros": lambda: bytes(1000),
    "no-header": lambda: packed(b"", bytes(8)),
    "length-beyond": lambda: packed(b"{}", length=3),
    "length-2^63": lambda: packed(b"{}", length=2**63),
    "length-2^64": lambda: packed(b"{}", length=2**64 - 1),
    "length-of-2-GB": lambda: packed(b"{}", bytes(100), length=2**31),
    "large-header": lambda: packed(b"{" + b" " * (9 << 20) + b"}"),
    "list": lambda: packed(b"[{}]"),
    "not-json": lambda: packed(b"{'a': 1}"),
    "rest-after-json": lambda: packed(b"{}{}"),
    "deep": lambda: packed(b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "deep-objects": lambda: packed(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "many-values": lambda: packed(b'{"a": [' + b"0," * 1_500_000 + b"0]}"),
    "many-objects": lambda: packed(b'{"a": [' + b"{}," * 1_500_000 + b"{}]}"),
    "not-utf-8": lambda: packed(b'{"\xff\xfe": 1}'),
    "byte-order-mark": lambda: packed(b"\xef\xbb\xbf{}"),
    "half-a-character": lambda: packed(b'{"\\ud800": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}'),
    "twice": lambda: packed(b'{"a": 1, "a": 1}'),
    "twice-within": lambda: _raw('{"dtype": "F32", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'),
    "nan": lambda: _offsets("[NaN, 8]"),
    "infinity": lambda: _offsets("[0, Infinity]"),
    "5000-digits": lambda: _offsets(f"[0, {'9' * 5000}]"),
    "exponent": lambda: _offsets("[0, 8e999]"),
    "overlap": lambda: _two([0, 8], [4, 12], 12),
    "the-same-bytes": lambda: _two([0, 8], [0, 8], 8),
    "hole": lambda: _two([0, 8], [12, 20], 20),
    "hole-at-the-start": lambda: _two([8, 16], [16, 24], 24),
    "minus": lambda: _offsets("[-8, 0]"),
    "backwards": lambda: _offsets("[8, 0]"),
    "fraction": lambda: _offsets("[0.0, 8.0]"),
    "true": lambda: _raw('{"dtype": "U8", "shape": [1], "data_offsets": [false, true]}'),
    "text": lambda: _offsets('["0", "8"]'),
    "null": lambda: _offsets("null"),
    "three-offsets": lambda: _offsets("[0, 4, 8]"),
    "one-offset": lambda: _offsets("[0]"),
    "2^63-offset": lambda: _offsets(f"[0, {2**63}]"),
    "beyond-the-file": lambda: _two([0, 8], [8, 16], 8),
    "far-beyond-the-file": lambda: packed({"flow.a": {**_PLAIN, "shape": [2**28], "data_offsets": [0, 2**30]}}),
    "bytes-of-no-tensor": lambda: _one(bytes(9)),
    "shape-minus": lambda: _shape("[-2]"),
    "shape-minus-minus": lambda: _shape("[-1, -2]"),
    "shape-fraction": lambda: _shape("[2.0]"),
    "shape-true": lambda: _shape("[2, true]"),
    "shape-text": lambda: _shape('"2"'),
    "shape-null": lambda: _shape("null"),
    "shape-of-lists": lambda: _shape("[[2]]"),
    "shape-overflow": lambda: _one(b"", shape=[2**32, 2**32], data_offsets=[0, 0]),
    "shape-overflow-to-8": lambda: _one(shape=[2**63, 2, 2], data_offsets=[0, 8]),
    "shape-none-of-many": lambda: _one(b"", shape=[0, 2**40], data_offsets=[0, 0]),
    "shape-of-many-axes": lambda: _one(shape=[1] * 10_000 + [2]),
    "shape-larger": lambda: _one(shape=[3]),
    "shape-smaller": lambda: _one(shape=[1]),
    "dtype-unknown": lambda: _one(dtype="F32X"),
    "dtype-nasty": lambda: _one(dtype=NASTY * 100_000),
    "dtype-list": lambda: _one(dtype=["F32"]),
    "dtype-null": lambda: _one(dtype=None),
    "dtype-4-bits": lambda: _one(dtype="F4", shape=[16]),
    "more-keys": lambda: _one(stride=[1]),
    "entry-list": lambda: packed({"flow.a": [0, 8]}, bytes(8)),
    "entry-number": lambda: packed({"flow.a": 8}, bytes(8)),
    "entry-empty": lambda: packed({"flow.a": {}}, bytes(8)),
    "metadata-list": lambda: packed({"__metadata__": [1]}),
    "metadata-numbers": lambda: packed({"__metadata__": {"format": 1}}),
    "metadata-deep": lambda: packed({"__metadata__": {"format": {"a": {}}}}),
    "nasty-name": lambda: packed({NASTY: {**_PLAIN, "shape": [3]}}, bytes(8)),
    "name-of-4-MB": lambda: packed({"x" * (4 << 20): {**_PLAIN, "shape": [3]}}, bytes(8)),
}


def _write(path: Path, make: Callable[[], bytes]) -> None:
    path.write_bytes(make())


def of_any_kind(file: str) -> Inputs:
    """`HEADERS` in the place of `file`."""
    inputs = Inputs()
    inputs.add_each(file, "header", HEADERS, _write, Path(file).name)
    return inputs


def change(path: Path, **metadata: Any) -> None:
    """Change the string map of a valid file; "" removes an entry."""
    header, data = split(path.read_bytes())
    header["__metadata__"] |= metadata
    header["__metadata__"] = {key: text for key, text in header["__metadata__"].items() if text != ""}
    path.write_bytes(packed(header, data))


def replace(path: Path, tensors: dict[str, tuple[str, list[int], bytes] | None]) -> None:
    """Replace, add or remove tensors of a valid file: name -> dtype, shape and bytes."""
    header, data = split(path.read_bytes())
    metadata = header.pop("__metadata__", {})
    contents = {name: (e["dtype"], e["shape"], data[slice(*e["data_offsets"])]) for name, e in header.items()}
    contents |= tensors  # type: ignore[arg-type]
    result: dict[str, Any] = {"__metadata__": metadata}
    body = b""
    for name, content in contents.items():
        if content is not None:
            end = len(body) + len(content[2])
            result[name] = {"dtype": content[0], "shape": content[1], "data_offsets": [len(body), end]}
            body += content[2]
    path.write_bytes(packed(result, body))
