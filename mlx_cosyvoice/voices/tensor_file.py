"""Safetensors files of voices: named arrays and a string map, with a format name and a version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors.numpy import save

from mlx_cosyvoice.files import write_file
from mlx_cosyvoice.quoting import plain, quoted
from mlx_cosyvoice.strict import BadFileError, Entry, Header, open_regular, parse_json, read_header
from mlx_cosyvoice.voices.errors import VoiceError

#: Bytes of an array of a voice. The largest is the mel of 30 s: 480,000, or twice that in float64.
MAX_TENSOR = 1 << 20
#: Bytes of all arrays of a file: 400 speakers with recordings of 30 s.
MAX_TENSORS = 192 << 20

#: Dtypes of safetensors files that arrays of voices may have; NumPy has no bfloat16.
_DTYPES = {"F16": "f2", "F32": "f4", "F64": "f8", "U8": "u1", "I16": "i2", "U16": "u2", "I32": "i4", "I64": "i8"}


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str], *, kind: str, version: int, force: bool
) -> None:
    """Write a file of format `kind`; errors as of `write_file`."""
    content = save(
        {key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()},
        {"format": kind, "version": str(version), **metadata},
    )
    write_file(path, _ordered(content), force=force)


def _ordered(content: bytes) -> bytes:
    """A safetensors file with its string map in order, which the library shuffles: the same input, the same bytes."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def read_tensors(path: Path, *, kind: str, version: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and string map of a file of format `kind` and at most `version`.

    Raises:
        FileNotFoundError: no such file.
        VoiceError: a folder or pipe, not a safetensors file, cut off, of another format, of a newer version, or larger
            than voices are.
        OSError: it must not or cannot be read.
    """
    if path.is_dir():
        raise VoiceError(f"{path}: is a folder, not a {kind} file")
    try:
        with open_regular(path) as file:
            header = read_header(file)
            _check_format(path, header.metadata, kind, version)
            _check_sizes(path, header)
            return {name: _array(file, entry) for name, entry in header.tensors.items()}, header.metadata
    except BadFileError as error:
        raise VoiceError(f"{path}: {error}. Copy or save it again") from error


def _check_sizes(path: Path, header: Header) -> None:
    total = 0
    for name, entry in header.tensors.items():
        total += entry.nbytes
        if entry.dtype not in _DTYPES:
            raise VoiceError(f"{path}: {plain(name)} has the dtype {entry.dtype}, which voices do not have")
        if entry.nbytes > MAX_TENSOR or total > MAX_TENSORS:
            raise VoiceError(
                f"{path}: {plain(name)} of shape {list(entry.shape)} is too large: a voice has {MAX_TENSOR} bytes an "
                f"array at most, a file {MAX_TENSORS}"
            )


def _array(file: BinaryIO, entry: Entry) -> np.ndarray:
    file.seek(entry.start)
    content = file.read(entry.nbytes)
    if len(content) != entry.nbytes:
        raise BadFileError("was cut off while it was read")
    return np.frombuffer(content, np.dtype(_DTYPES[entry.dtype]).newbyteorder("<")).reshape(entry.shape)


def file_format(path: Path) -> str | None:
    """The format name of a safetensors file; None where it has none, or is not one.

    Raises:
        OSError: the file must not or cannot be read.
    """
    try:
        return read_header(path).metadata.get("format")
    except BadFileError:
        return None


def _check_format(path: Path, metadata: Mapping[str, str], kind: str, version: int) -> None:
    found, text = metadata.get("format"), metadata.get("version", "")
    if found != kind:
        raise VoiceError(f"{path}: metadata format is {quoted(found)}, not {kind!r}: another kind of file")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise VoiceError(f"{path}: metadata version must be a whole number from 1 on, not {quoted(text)}")
    if int(text) > version:
        raise VoiceError(
            f"{path}: version {text} of {kind!r} is newer than {version}, the latest that this mlx-cosyvoice knows: "
            "upgrade it"
        )


def read_json(path: Path, metadata: Mapping[str, str], key: str, default: Any) -> Any:
    """The value that metadata `key` holds as JSON, of the type of `default`, which stands for a missing one.

    Raises:
        VoiceError: it is not JSON, or of another type.
    """
    if key not in metadata:
        return default
    try:
        value = parse_json(metadata[key])
    except BadFileError as error:
        raise VoiceError(f"{path}: metadata {key} is {error}") from error
    if not isinstance(value, type(default)):
        raise VoiceError(
            f"{path}: metadata {key} must hold a JSON {type(default).__name__}, not {plain(metadata[key], 60)}"
        )
    return value
