"""Reads what `torch.save` has written, as data: `torch.load` is not called, tensors are mapped from the file."""

from __future__ import annotations

import math
import mmap
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from converters.errors import CheckpointError
from mlx_cosyvoice.quoting import plain, quoted
from mlx_cosyvoice.strict import BadFileError
from mlx_cosyvoice.strict.pickle_data import MAX_PICKLE, ForeignObjectError, Name, read_pickle
from mlx_cosyvoice.strict.stored_zip import Member, StoredZip

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

_ZIP = b"PK\x03\x04"
#: How the format begins that PyTorch wrote before version 1.6: a pickled magic number.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

#: Tensors may share a storage, as tied embeddings do. All of them together are at most so many files large.
MAX_SHARING = 4
MAX_AXES = 8


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
    with path.open("rb") as file:
        start = file.read(len(_LEGACY))
    if start.startswith(_LEGACY):
        raise CheckpointError(
            f"{path}: has the format that PyTorch wrote before version 1.6, which may carry code, and was not loaded. "
            'If you trust it, save it again: python -c "import sys, torch; p = sys.argv[1]; '
            "torch.save(torch.load(p, map_location='cpu', weights_only=True), p)\" FILE"
        )
    if not start.startswith(_ZIP):
        raise _damaged(path, "it is no zip")
    try:
        archive = StoredZip(path)
        if verify:
            archive.check()
        return _Reader(archive).read()
    except ForeignObjectError as error:
        raise CheckpointError(
            f"{path}: {error}. A file of more than tensors can carry code, so it was not loaded. "
            "Get the file from the official repository, or save the state dict alone where it was trained."
        ) from error
    except BadFileError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> CheckpointError:
    size = path.stat().st_size
    return CheckpointError(f"{path}: not a PyTorch file, or a damaged or cut one ({size} bytes): {why}. Get it again.")


class _Reader:
    """The objects of an archive. The file stays mapped as long as a tensor of it is held."""

    def __init__(self, archive: StoredZip) -> None:
        self.archive = archive
        pickles = [name for name in archive.members if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise BadFileError("it is a zip without the one data.pkl that torch.save writes")
        self.folder = pickles[0].removesuffix("data.pkl")
        if f"{self.folder}constants.pkl" in archive.members:
            raise ForeignObjectError("is a TorchScript program (torch.jit.save), not a state dict")
        order = archive.members.get(f"{self.folder}byteorder")
        if order is not None and archive.read(order, 100).strip() != b"little":
            raise BadFileError("it was written on a big-endian machine")
        with archive.path.open("rb") as file:
            # private: what is written into a tensor does not reach the file
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.nbytes = 0
        self.storages: dict[tuple[str, str], torch.Tensor] = {}

    def read(self) -> Any:
        content = self.archive.read(self._member("data.pkl"), MAX_PICKLE)
        return read_pickle(content, self.call, self.storage)

    def _member(self, name: str) -> Member:
        member = self.archive.members.get(self.folder + name)
        if member is None:
            raise BadFileError(f"it lacks {quoted(name)}")
        return member

    def storage(self, pid: Any) -> torch.Tensor:
        """A storage, as a tensor of one axis."""
        match pid:
            case ("storage", Name("torch", str() as kind), str() as key, _, int() as count) if kind in STORAGES:
                if (key, kind) not in self.storages:
                    self.storages[key, kind] = self._mapped(f"data/{key}", STORAGES[kind], count)
                if len(self.storages[key, kind]) != count:
                    raise BadFileError(f"a storage has {quoted(count)} elements in one place and others elsewhere")
                return self.storages[key, kind]
            case ("storage", Name() as kind, *_):
                raise ForeignObjectError(f"holds a tensor of {kind}")
        raise BadFileError("its pickle refers to something that is not the storage of a tensor")

    def _mapped(self, name: str, dtype: torch.dtype, count: int) -> torch.Tensor:
        member = self._member(name)
        if member.nbytes != count * dtype.itemsize:
            raise BadFileError(f"{plain(name)} has {member.nbytes} bytes for {quoted(count)} elements of {dtype}")
        if count == 0:
            return torch.empty(0, dtype=dtype)
        if member.start % dtype.itemsize:  # torch.save aligns them
            return torch.frombuffer(bytearray(self.archive.read(member, member.nbytes)), dtype=dtype)
        return torch.frombuffer(self.map, dtype=dtype, count=count, offset=member.start)

    def call(self, function: Name, arguments: tuple) -> Any:
        match (function.module, function.name), arguments:
            case ("collections", "OrderedDict"), ():
                return OrderedDict()
            case ("torch._utils", "_rebuild_tensor_v2"), (storage, offset, shape, strides, *_):
                return self.tensor(storage, offset, shape, strides)
            case ("torch._utils", "_rebuild_parameter"), (torch.Tensor() as tensor, *_):
                return tensor
            case ("torch", "Size"), (tuple() as shape,):
                return shape
        raise ForeignObjectError(f"asks for {function}")

    def tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> torch.Tensor:
        if not isinstance(storage, torch.Tensor) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise BadFileError("a tensor's storage, shape or strides are not what torch.save writes")
        whole = all(type(number) is int and 0 <= number < 1 << 48 for number in (offset, *shape, *strides))
        if not whole or len(shape) != len(strides) or len(shape) > MAX_AXES:
            raise BadFileError(f"a tensor has the shape {quoted(shape)} and the strides {quoted(strides)}")
        count = math.prod(shape)
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if count > len(storage) or (count and last >= len(storage)):
            raise BadFileError(f"a tensor of shape {quoted(shape)} does not fit its storage of {len(storage)} elements")
        self.nbytes += count * storage.itemsize
        if self.nbytes > MAX_SHARING * self.archive.size:
            raise BadFileError(f"its tensors together are more than {MAX_SHARING} times as large as the file")
        if not count:
            return torch.empty(shape, dtype=storage.dtype)
        return storage.as_strided(shape, strides, offset)
