"""Reads a file of `torch.save` without torch, into NumPy arrays."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from mlx_cosyvoice.strict import BadFileError, open_regular, read_bytes
from mlx_cosyvoice.strict.pickle_data import ForeignObjectError
from mlx_cosyvoice.strict.stored_zip import Member
from mlx_cosyvoice.strict.torch_file import Bounds, Storage, TorchFile, check_start, is_zip
from mlx_cosyvoice.voices.errors import VoiceError

#: Class of a storage in module `torch` -> dtype of its elements; NumPy has no bfloat16, which is read as its bits.
_STORAGES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "ByteStorage": "u1",
    "CharStorage": "i1",
    "ShortStorage": "i2",
    "IntStorage": "i4",
    "LongStorage": "i8",
}
_ITEMSIZES = {kind: np.dtype(dtype).itemsize for kind, dtype in _STORAGES.items()}

#: 200 speakers with recordings of 30 s, 100,000 without; each has some ten tensors, a kilobyte of pickle and 300
#: instructions.
_BOUNDS = Bounds(nbytes=96 << 20, members=20_000, pickle=8 << 20, opcodes=300_000, sharing=2, free=16 << 20)


def read_pt(path: Path) -> Any:
    """The object that `torch.save` has written, with NumPy arrays in place of tensors (float32 for bfloat16).

    Raises:
        FileNotFoundError: no such file.
        VoiceError: another or an older format, damaged, or holds other objects than containers, strings, numbers and
            tensors. Nothing of what such a pickle asks for is imported or called.
        OSError: the file must not or cannot be read.
    """
    try:
        content = read_bytes(path, _BOUNDS.nbytes)
        check_start(path, io.BytesIO(content))
        return _ArrayFile(content).read()
    except ForeignObjectError as error:
        raise VoiceError(
            f"{path}: {error}; only tensors, containers, strings and numbers are read, since a pickle that may ask for "
            "more can run any code"
        ) from error
    except BadFileError as error:
        raise VoiceError(f"{path}: {error}") from error


def is_pt(path: Path) -> bool:
    """Whether the file is a zip, as those of `torch.save` are.

    Raises:
        BadFileError: not a file.
        OSError: it must not or cannot be read.
    """
    with open_regular(path) as file:
        return is_zip(file.read(4))


class _ArrayFile(TorchFile):
    """The objects of a file; each tensor is an array of its own."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), _BOUNDS, _ITEMSIZES)
        self.archive.check()
        self._content = content

    def elements(self, member: Member, kind: str) -> np.ndarray:
        dtype = np.dtype((">" if self.order == "big" else "<") + _STORAGES[kind])
        return np.frombuffer(self._content, dtype, member.nbytes // dtype.itemsize, member.start)

    def tensor(self, storage: Storage, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> np.ndarray:
        elements = storage.elements
        if storage.kind == "BFloat16Storage":
            self.spend(math.prod(shape) * elements.itemsize)  # once more, as it becomes float32
        array = np.empty(shape, elements.dtype)
        if array.size:
            array[...] = np.lib.stride_tricks.as_strided(
                elements[offset:], shape, [stride * elements.itemsize for stride in strides], writeable=False
            )
        if storage.kind == "BFloat16Storage":  # the upper half of float32
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(array.dtype.newbyteorder("="), copy=False)
