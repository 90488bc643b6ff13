"""Values of arrays in two files that hold no code: JSON, and safetensors beside it.

Arrays are mapped into memory when they are read: a process reads those alone that it looks at, and several share them.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mlx_parity.localization.isolate import OPAQUE

#: Dtypes of safetensors that arrays have here.
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "U32": "<u4",
    "U8": "|u1",
    "BOOL": "|b1",
}


class CaptureError(ValueError):
    """A capture that is not whole; the message names the file."""


def write_values(value: Any, path: Path) -> None:
    """Write a value to `path` (JSON) and a file of that name with `.safetensors` behind it.

    It may consist of arrays, texts, numbers, flags, None, lists, tuples, mappings and dataclasses or named tuples.

    Raises:
        TypeError: it holds something else.
    """
    arrays: dict[str, np.ndarray] = {}
    names: dict[int, str] = {}

    def encoded(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            if id(value) not in names:
                names[id(value)] = str(len(arrays))
                arrays[str(len(arrays))] = np.ascontiguousarray(value)
            return {"array": names[id(value)]}
        if isinstance(value, Enum):
            return {"enum": type(value).__name__, "value": value.value}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if value is OPAQUE:
            return {"opaque": True}
        kind = type(value).__name__
        if is_dataclass(value):
            return {"type": kind, "fields": {one.name: encoded(getattr(value, one.name)) for one in fields(value)}}
        if hasattr(value, "_asdict"):
            return {"type": kind, "fields": {name: encoded(item) for name, item in value._asdict().items()}}
        if isinstance(value, Mapping):
            return {"mapping": [[encoded(key), encoded(item)] for key, item in value.items()]}
        if isinstance(value, (list, tuple)):
            return {"list" if isinstance(value, list) else "tuple": [encoded(item) for item in value]}
        if isinstance(value, np.generic):
            return value.item()
        raise TypeError(f"cannot write a {kind} into a capture")

    text = json.dumps(encoded(value), separators=(",", ":"))
    save_file(arrays, _arrays_of(path))
    path.write_text(text, encoding="utf-8")


def read_values(path: Path, types: Iterable[type] = (), enums: Mapping[str, type[Enum]] | None = None) -> Any:
    """What `write_values` wrote. Arrays may be changed, which changes no file.

    Args:
        path: of the JSON file.
        types: dataclasses and named tuples that it may hold.
        enums: name -> enumerations of which it may hold members.

    Raises:
        CaptureError: a file is missing, damaged, or holds a type that is not among `types`.
    """
    known = {kind.__name__: kind for kind in types}
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        arrays = _mapped(_arrays_of(path))

        def decoded(value: Any) -> Any:
            if not isinstance(value, dict):
                return value
            (form, content), *more = value.items()
            if form == "array":
                return arrays[content]
            if form == "type":
                if content not in known:
                    raise CaptureError(f"{path}: holds a {content}, which nothing here knows; is it of this pipeline?")
                return known[content](**{name: decoded(item) for name, item in more[0][1].items()})
            if form == "enum":
                return (enums or {})[content](more[0][1])
            if form == "mapping":
                return {decoded(key): decoded(item) for key, item in content}
            if form == "opaque":
                return OPAQUE
            items = [decoded(item) for item in content]
            return items if form == "list" else tuple(items)

        return decoded(head)
    except (OSError, KeyError, TypeError, IndexError, json.JSONDecodeError, SafetensorError) as error:
        raise CaptureError(f"{path}: cannot be read ({type(error).__name__}: {error}); capture it again") from error


def _arrays_of(path: Path) -> Path:
    return path.with_suffix(".safetensors")


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, whose header the library has checked."""
    with safe_open(path, framework="numpy"):
        pass
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))[8 + size :]
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(view[entry["data_offsets"][0] : entry["data_offsets"][1]], DTYPES[entry["dtype"]]).reshape(
            entry["shape"]
        )
        for name, entry in header.items()
    }
