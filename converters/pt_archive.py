"""Reads what `torch.save` has written, as data: `torch.load` is not called, tensors are mapped from the file."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any, BinaryIO

import torch

from converters.errors import CheckpointError
from mlx_cosyvoice.quoting import quoted
from mlx_cosyvoice.strict import BadFileError, open_regular
from mlx_cosyvoice.strict.pickle_data import ForeignObjectError, Name
from mlx_cosyvoice.strict.stored_zip import Member
from mlx_cosyvoice.strict.torch_file import Bounds, OldFormatError, Storage, TorchFile, check_start

#: Class of a storage in module `torch` -> dtype of its elements.
STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}

_ITEMSIZES = {kind: dtype.itemsize for kind, dtype in STORAGES.items()}

#: The language model has 2 GB, with its optimizer 8 GB, and then 5,000 members. The largest pickle of the published
#: files has 150,000 bytes and 40,000 instructions; optimizers triple that. Tied embeddings share a storage.
_BOUNDS = Bounds(nbytes=16 << 30, members=50_000, pickle=16 << 20, opcodes=500_000, sharing=4)


def load(path: Path, *, verify: bool = True) -> Any:
    """The content of a `.pt` file, with tensors whose data are read from disk when they are used.

    Args:
        path: the file.
        verify: compare the checksums of all that it holds, which reads it once.

    Raises:
        CheckpointError: no such file, another format, damaged or cut off; code or objects besides tensors and plain
            containers; or a tensor that its storage does not hold. The file is named.
        OSError: the file cannot be read.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with open_regular(path) as file:
            check_start(path, file)
            return _MappedFile(file, verify=verify).read()
    except ForeignObjectError as error:
        raise CheckpointError(
            f"{path}: {error}. A file of more than tensors can carry code, so it was not loaded. "
            "Get the file from the official repository, or save the state dict alone where it was trained."
        ) from error
    except OldFormatError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except BadFileError as error:
        size = path.stat().st_size
        raise CheckpointError(
            f"{path}: not a PyTorch file, or a damaged or cut one ({size} bytes): {error}. Get it again."
        ) from error


class _MappedFile(TorchFile):
    """The objects of a file, which stays mapped as long as a tensor of it is held."""

    def __init__(self, file: BinaryIO, *, verify: bool) -> None:
        super().__init__(file, _BOUNDS, _ITEMSIZES)
        if self.order != "little":
            raise BadFileError("it was written on a big-endian machine")
        if verify:
            self.archive.check()
        # private: what is written into a tensor does not reach the file
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    def elements(self, member: Member, kind: str) -> torch.Tensor:
        dtype = STORAGES[kind]
        if not member.nbytes:
            return torch.empty(0, dtype=dtype)
        if member.start % dtype.itemsize:  # torch.save aligns them
            return torch.frombuffer(bytearray(self.archive.read(member, member.nbytes)), dtype=dtype)
        return torch.frombuffer(self._map, dtype=dtype, count=member.nbytes // dtype.itemsize, offset=member.start)

    def tensor(self, storage: Storage, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> torch.Tensor:
        if 0 in shape:
            return torch.empty(shape, dtype=storage.elements.dtype)
        tensor: torch.Tensor = storage.elements.as_strided(shape, strides, offset)
        if tensor.numel() > storage.count:
            raise BadFileError(f"a tensor of shape {quoted(shape)} repeats its storage of {storage.count} elements")
        return tensor

    def call(self, function: Name, arguments: tuple) -> Any:
        match (function.module, function.name), arguments:
            case ("torch._utils", "_rebuild_parameter"), (torch.Tensor() as tensor, *_):
                return tensor
            case ("torch", "Size"), (tuple() as shape,):
                return shape
        return super().call(function, arguments)
