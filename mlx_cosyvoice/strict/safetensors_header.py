"""The header of a safetensors file: what it says, once that is known to be true of the file's bytes.

The format is eight bytes with the header's length, a JSON object that maps the names of tensors to `dtype`, `shape`
and `data_offsets`, and the tensors, one after the other without overlaps and holes.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mlx_cosyvoice.quoting import quoted
from mlx_cosyvoice.strict.errors import BadFileError
from mlx_cosyvoice.strict.json_text import parse_json
from mlx_cosyvoice.strict.regular import open_regular

#: Bytes. The header of the full model has 0.4 MB.
MAX_HEADER = 8 << 20

#: The full model has 2,500.
MAX_TENSORS = 20_000

#: Name of a dtype -> bytes of a number.
DTYPES = {
    **dict.fromkeys(("BOOL", "U8", "I8"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}

_MAX_AXES = 8
#: Of a tensor. MLX has 32 bits for the length of an axis.
_MAX_NUMBERS = 2**31 - 1


@dataclass(frozen=True)
class Entry:
    """A tensor of a file.

    Attributes:
        dtype: a key of `DTYPES`.
        shape: its shape.
        start: its first byte in the file.
        nbytes: how many it has.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


@dataclass(frozen=True)
class Header:
    """What a file holds.

    Attributes:
        tensors: by name, in the order of their bytes.
        metadata: the string map, {} if there is none.
    """

    tensors: dict[str, Entry]
    metadata: dict[str, str]


def read_header(source: str | os.PathLike[str] | BinaryIO) -> Header:
    """Read the header of a file, and nothing else of it.

    Args:
        source: the file's path, or the open file.

    Raises:
        BadFileError: not a safetensors file, cut off, with bytes that belong to no tensor, or with a header that is
            not true; the tensor is named.
        OSError: the file cannot be read.
    """
    if isinstance(source, (str, os.PathLike)):
        with open_regular(Path(source)) as file:
            return read_header(file)
    size = os.fstat(source.fileno()).st_size
    source.seek(0)
    length = int.from_bytes(source.read(8), "little")
    # A header starts with a brace.
    if size < 9 or source.read(1) != b"{":
        raise BadFileError(f"not a safetensors file ({size} bytes)")
    if length > size - 8:
        raise BadFileError(f"cut off, or not a safetensors file: {size} bytes, of which its header takes {length}")
    if length > MAX_HEADER:
        raise BadFileError(f"its header of {length} bytes is larger than {MAX_HEADER}")
    source.seek(8)
    return _checked(_parsed(source.read(length)), 8 + length, size)


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        content = parse_json(text)
    except BadFileError as error:
        raise BadFileError(f"damaged, its header cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise BadFileError("damaged, its header is not a JSON object")
    return content


def _checked(content: dict[str, Any], begin: int, size: int) -> Header:
    if len(content) > MAX_TENSORS:
        raise BadFileError(f"its header lists {len(content)} tensors, more than {MAX_TENSORS}")
    metadata = content.pop("__metadata__", None) or {}  # MLX writes null
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise BadFileError("damaged, its header: __metadata__ must map names to strings")
    entries = sorted(
        ((name, _entry(name, entry, begin)) for name, entry in content.items()),
        key=lambda item: (item[1].start, item[1].nbytes),
    )
    end = begin
    for name, entry in entries:
        if entry.start != end:
            what = "overlaps another" if entry.start < end else "follows a hole"
            raise BadFileError(f"damaged, its header: the tensor {quoted(name)} {what}")
        end += entry.nbytes
    if size < end:
        raise BadFileError(f"cut off: it has {size} bytes, its header says {end}")
    if size > end:
        raise BadFileError(f"cannot be read: it has {size} bytes, its header says {end}")
    return Header(dict(entries), metadata)


def _entry(name: str, entry: Any, begin: int) -> Entry:
    what = f"damaged, its header: the tensor {quoted(name)}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise BadFileError(f"{what} must have dtype, shape and data_offsets: {quoted(entry)}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise BadFileError(f"{what} has the dtype {quoted(dtype)}, which is not one of {', '.join(DTYPES)}")
    # One axis of no length makes a tensor empty, but libraries multiply the others too.
    if not _are_counts(shape) or len(shape) > _MAX_AXES or math.prod(filter(None, shape)) > _MAX_NUMBERS:
        raise BadFileError(f"{what} has the shape {quoted(shape)}")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BadFileError(f"{what} has the data_offsets {quoted(offsets)}")
    needed, nbytes = math.prod(shape) * DTYPES[dtype], offsets[1] - offsets[0]
    if nbytes != needed:
        raise BadFileError(f"{what} has {nbytes} bytes for {quoted(shape)} numbers of {dtype}, which take {needed}")
    return Entry(dtype, tuple(shape), begin + offsets[0], nbytes)


def _are_counts(value: Any) -> bool:
    """Whether it is a list of whole numbers from 0 on; True is none."""
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)
