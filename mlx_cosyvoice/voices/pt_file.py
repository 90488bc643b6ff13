"""Reads a file of `torch.save` without torch, and without running what a pickle may ask to be run.

Such a file is a zip: `NAME/data.pkl` holds the objects, `NAME/data/0`, `NAME/data/1` ... the bytes of the tensors'
storages, `NAME/byteorder` "little" or "big". The pickle rebuilds a tensor by a call of
`torch._utils._rebuild_tensor_v2` with a storage, which is a persistent id: ("storage", class, key, device, elements).
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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

#: How the two formats begin that `torch.save` has: a zip, and before torch 1.6 (or on request) a pickled magic number.
_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

#: Elements of the largest tensor that is rebuilt: 64 MiB in float32. A voice of 30 s has 120,000.
_MAX_ELEMENTS = 1 << 24


def read_pt(path: Path) -> Any:
    """The object that `torch.save` has written, with NumPy arrays in place of tensors (float32 for bfloat16).

    Raises:
        FileNotFoundError: no such file.
        VoiceError: another or an older format, damaged, or holds other objects than containers, strings, numbers and
            tensors. Nothing of what such a pickle asks for is imported or called.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        raise VoiceError(f"{path}: is a folder, not a file")
    if not is_pt(path):
        with path.open("rb") as file:
            legacy = file.read(len(_LEGACY)) == _LEGACY
        if legacy:
            raise VoiceError(
                f"{path}: has the format that torch wrote before version 1.6. Save it again where torch is installed: "
                f'python -c "import torch; p = {str(path)!r}; '
                "torch.save(torch.load(p, map_location='cpu', weights_only=True), p)\""
            )
        raise VoiceError(f"{path}: was not written by torch.save")
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(archive).read()
    except VoiceError as error:
        raise VoiceError(f"{path}: {error}") from error
    except Exception as error:
        # A damaged pickle can raise almost anything.
        raise VoiceError(f"{path}: damaged, or not written by torch.save ({type(error).__name__}: {error})") from error


def is_pt(path: Path) -> bool:
    """Whether the file is a zip, as those of `torch.save` are."""
    with path.open("rb") as file:
        return file.read(len(_ZIP)) == _ZIP


@dataclass(frozen=True)
class _StorageType:
    name: str


@dataclass(frozen=True)
class _Storage:
    """The elements of a storage, still as bits where they are bfloat16."""

    elements: np.ndarray
    bfloat16: bool


class _Archive:
    """The members of the zip."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise VoiceError("a zip, but not one that torch.save has written (it has no data.pkl)")
        self.folder = pickles[0].removesuffix("data.pkl")
        order = self._member("byteorder") if f"{self.folder}byteorder" in archive.namelist() else b"little"
        self.big_endian = {b"little": False, b"big": True}[order.strip()]

    def read(self) -> Any:
        return _Unpickler(io.BytesIO(self._member("data.pkl")), self.storage).load()

    def storage(self, name: str, key: str, count: int) -> _Storage:
        dtype = np.dtype(_STORAGES[name]).newbyteorder(">" if self.big_endian else "<")
        content = self._member(f"data/{key}")
        if len(content) != count * dtype.itemsize:
            raise VoiceError(f"data/{key} has {len(content)} bytes for {count} elements of a {name}")
        return _Storage(np.frombuffer(content, dtype), name == "BFloat16Storage")

    def _member(self, name: str) -> bytes:
        info = self.archive.getinfo(self.folder + name)
        if info.compress_type != zipfile.ZIP_STORED:
            # So that a small file cannot swell to fill the memory.
            raise VoiceError(f"{name} is compressed, which torch.save does not do")
        return self.archive.read(info)


class _Unpickler(pickle.Unpickler):
    """Knows tensors, containers, strings and numbers; a pickle can call nothing but what `find_class` returns."""

    def __init__(self, file: io.BytesIO, storage: Callable[[str, str, int], _Storage]) -> None:
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            # A new object each time: a pickle may set attributes of what it gets.
            return lambda *arguments: _rebuild(*arguments)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _STORAGES:
            return _StorageType(name)
        raise VoiceError(
            f"holds {f'{module}.{name}'[:80]!r}; only tensors, containers, strings and numbers are read, since a "
            "pickle that may ask for more can run any code"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType() as kind, str() as key, _, int() as count):
                return self._storage(kind.name, key, count)
        raise VoiceError("refers to something outside of it that is not the storage of a tensor")


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_ignored: Any) -> np.ndarray:
    """A tensor of `shape` whose element [i, j, ...] is `storage[offset + i * strides[0] + j * strides[1] + ...]`."""
    numbers = [offset, *shape, *strides]
    whole = all(type(number) is int and number >= 0 for number in numbers)
    if not isinstance(storage, _Storage) or not whole or len(shape) != len(strides):
        raise VoiceError("a tensor's storage, offset, shape or strides are not what torch.save writes")
    count = math.prod(shape)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if count > _MAX_ELEMENTS or (count and last >= storage.elements.size):
        raise VoiceError(
            f"a tensor of shape {list(shape)} does not fit its storage of {storage.elements.size} elements"
        )
    if not count:
        array = np.empty(shape, storage.elements.dtype)
    else:
        width = storage.elements.itemsize
        array = np.lib.stride_tricks.as_strided(
            storage.elements[offset:], shape, [stride * width for stride in strides], writeable=False
        )
    if storage.bfloat16:
        # bfloat16 is the upper half of float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(array.dtype.newbyteorder("="))
