"""Writes safetensors files tensor by tensor, in any order, so that a model never has to fit into memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

import numpy as np
import torch

from mlx_cosyvoice.weights import INDEX, WEIGHTS

#: Where larger models are cut into shards.
MAX_SHARD_BYTES = 5 << 30


class Format(NamedTuple):
    """How a dtype is named in safetensors and in torch."""

    safetensors: str
    torch: torch.dtype
    itemsize: int


FORMATS = {
    "float32": Format("F32", torch.float32, 4),
    "float16": Format("F16", torch.float16, 2),
    "bfloat16": Format("BF16", torch.bfloat16, 2),
}

#: What holds quantized weights, eight or four in each element.
PACKED = "uint32"
STORED = {**FORMATS, PACKED: Format("U32", torch.uint32, 4)}


class Entry(NamedTuple):
    """A tensor to be written. `dtype` is a key of `STORED`."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * STORED[self.dtype].itemsize


#: How many numbers are rounded at a time: the largest table of a model is half a gigabyte.
BLOCK = 1 << 22


def encode(array: np.ndarray, dtype: str) -> Iterator[np.ndarray]:
    """A float32 array as the bytes of `dtype`, block by block, rounded to nearest, ties to even; packed weights
    (uint32) as they are.

    Raises:
        OverflowError: a value is too large for float16.
    """
    flat = np.ascontiguousarray(array, np.uint32 if dtype == PACKED else np.float32).reshape(-1)
    if dtype in ("float32", PACKED):
        yield flat.view(np.uint8)
        return
    for start in range(0, flat.size, BLOCK):
        rounded = torch.from_numpy(flat[start : start + BLOCK]).to(FORMATS[dtype].torch)
        if not bool(torch.isfinite(rounded).all()):
            raise OverflowError(f"holds {np.abs(flat).max():.3g}, which is too large for {dtype}")
        yield rounded.view(torch.uint8).numpy()


def split_into_shards(entries: Iterable[Entry], max_bytes: int) -> list[list[Entry]]:
    """In order, as few shards of at most `max_bytes` as that allows; a larger tensor has one to itself."""
    shards: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        if shards[-1] and size + entry.nbytes > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(entry)
        size += entry.nbytes
    return shards


class SafetensorsWriter:
    """Writes `model.safetensors` or, above `max_shard_bytes`, numbered shards and their index, into `folder`.

    What will be written is known beforehand; the tensors then come one by one, in any order. Used as a context: its
    end checks that each of them came.
    """

    def __init__(self, folder: Path, entries: Iterable[Entry], max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
        shards = split_into_shards(entries, max_shard_bytes)
        count = len(shards)
        names = [WEIGHTS] if count == 1 else [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
        self.folder, self.shards = folder, dict(zip(names, shards, strict=True))
        self.files: list[BinaryIO] = []
        #: name -> entry, its file, and its place there
        self.pending: dict[str, tuple[Entry, BinaryIO, int]] = {}

    def __enter__(self) -> SafetensorsWriter:
        for name, entries in self.shards.items():
            file = (self.folder / name).open("wb")
            self.files.append(file)
            self._write_header(file, entries)
        if len(self.shards) > 1:
            self._write_index()
        return self

    def _write_header(self, file: BinaryIO, entries: list[Entry]) -> None:
        header: dict[str, object] = {"__metadata__": {"format": "mlx"}}
        offset = 0
        # wide types first, so that every tensor is aligned
        for entry in sorted(entries, key=lambda entry: -STORED[entry.dtype].itemsize):
            header[entry.name] = {
                "dtype": STORED[entry.dtype].safetensors,
                "shape": list(entry.shape),
                "data_offsets": [offset, offset + entry.nbytes],
            }
            self.pending[entry.name] = (entry, file, offset)
            offset += entry.nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        file.write(len(text).to_bytes(8, "little") + text)
        for entry in entries:
            _, _, start = self.pending[entry.name]
            self.pending[entry.name] = (entry, file, 8 + len(text) + start)

    def _write_index(self) -> None:
        index = {
            "metadata": {"total_size": sum(e.nbytes for entries in self.shards.values() for e in entries)},
            "weight_map": {e.name: file for file, entries in self.shards.items() for e in entries},
        }
        (self.folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def write(self, name: str, array: np.ndarray) -> int:
        """Write a tensor. Returns its number of bytes.

        Raises:
            KeyError: it was not announced, or was written before.
            ValueError: it has another shape than announced.
            OverflowError: a value is too large for float16.
            OSError: the disk is full.
        """
        entry, file, start = self.pending[name]
        if tuple(array.shape) != entry.shape:
            raise ValueError(f"{name} has shape {list(array.shape)}, announced was {list(entry.shape)}")
        file.seek(start)
        for block in encode(array, entry.dtype):
            file.write(block.data)
        del self.pending[name]
        return entry.nbytes

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self.files:
            try:
                file.close()
            except OSError:
                if error is None:
                    raise
        if error is None and self.pending:
            raise ValueError(f"{len(self.pending)} announced tensors were not written: {sorted(self.pending)[:4]}")
