"""Safetensors files of voices: named arrays and a string map, with a format name and a version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mlx_cosyvoice.files import write_file
from mlx_cosyvoice.voices.errors import VoiceError


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
        VoiceError: a folder, not a safetensors file, cut off, of another format, or of a newer version.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        raise VoiceError(f"{path}: is a folder, not a {kind} file")
    check_whole(path)
    try:
        with safe_open(path, "numpy") as file:
            metadata = dict(file.metadata() or {})
            _check_format(path, metadata, kind, version)
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118 (no iterator)
    except (SafetensorError, TypeError, KeyError, AttributeError) as error:
        raise VoiceError(f"{path}: cannot be read ({error})") from error


def file_format(path: Path) -> str | None:
    """The format name of a safetensors file; None where it has none, or is not one."""
    try:
        with safe_open(path, "numpy") as file:
            return (file.metadata() or {}).get("format")
    except (SafetensorError, OSError):
        return None


def check_whole(path: Path) -> None:
    """Tell a file that was cut off from one that never was a safetensors file.

    Raises:
        VoiceError: it is one of the two.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        # A header starts with a brace; more than 100 MB of it is refused by the format.
        if size < 9 or length > 100_000_000 or file.read(1) != b"{":
            raise VoiceError(f"{path}: not a safetensors file ({size} bytes)")
        file.seek(8)
        header = file.read(length)
    needed = 8 + length
    if len(header) == length:
        try:
            needed += max(
                (entry["data_offsets"][1] for key, entry in json.loads(header).items() if key != "__metadata__"),
                default=0,
            )
        except (ValueError, AttributeError, LookupError, TypeError) as error:
            raise VoiceError(f"{path}: damaged, its header cannot be read ({error})") from error
    if size < needed:
        raise VoiceError(f"{path}: cut off, it has {size} bytes of at least {needed}. Copy or export it again.")


def _check_format(path: Path, metadata: Mapping[str, str], kind: str, version: int) -> None:
    found, text = metadata.get("format"), metadata.get("version", "")
    if found != kind:
        raise VoiceError(f"{path}: metadata format is {found!r}, not {kind!r}: another kind of file")
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise VoiceError(f"{path}: metadata version must be a whole number from 1 on, not {text!r}")
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
        value = json.loads(metadata[key])
    except ValueError as error:
        raise VoiceError(f"{path}: metadata {key} is not JSON ({error})") from error
    if not isinstance(value, type(default)):
        raise VoiceError(f"{path}: metadata {key} must hold a JSON {type(default).__name__}, not {metadata[key][:60]}")
    return value
