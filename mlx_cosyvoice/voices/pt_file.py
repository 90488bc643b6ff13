"""Reads a file of `torch.save` without torch, and without running what a pickle may ask to be run.

Such a file is a zip: `NAME/data.pkl` holds the objects, `NAME/data/0`, `NAME/data/1` ... the bytes of the tensors'
storages, `NAME/byteorder` "little" or "big". The pickle rebuilds a tensor by a call of
`torch._utils._rebuild_tensor_v2` with a storage, which is a persistent id: ("storage", class, key, device, elements).
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlx_cosyvoice.quoting import plain, quoted
from mlx_cosyvoice.strict import BadFileError, open_regular, read_bytes
from mlx_cosyvoice.voices.errors import VoiceError
from mlx_cosyvoice.voices.pt_archive import MAX_FILE, MAX_PICKLE, Archive
from mlx_cosyvoice.voices.pt_opcodes import check_opcodes

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
_MAX_AXES = 8
#: Bytes that tensors may take beyond twice those of the storages: small ones that repeat their elements.
_FREE = 16 << 20


def read_pt(path: Path) -> Any:
    """The object that `torch.save` has written, with NumPy arrays in place of tensors (float32 for bfloat16).

    Raises:
        FileNotFoundError: no such file.
        VoiceError: another or an older format, damaged, or holds other objects than containers, strings, numbers and
            tensors. Nothing of what such a pickle asks for is imported or called.
        OSError: the file must not or cannot be read.
    """
    try:
        content = read_bytes(path, MAX_FILE)
        if not content.startswith(_ZIP):
            raise _other_format(path, content)
        return _load(Archive(content))
    except VoiceError:
        raise
    except BadFileError as error:
        raise VoiceError(f"{path}: {error}") from error


def is_pt(path: Path) -> bool:
    """Whether the file is a zip, as those of `torch.save` are.

    Raises:
        BadFileError: not a file.
        OSError: it must not or cannot be read.
    """
    with open_regular(path) as file:
        return file.read(len(_ZIP)) == _ZIP


def _other_format(path: Path, content: bytes) -> VoiceError:
    if not content.startswith(_LEGACY):
        return VoiceError(f"{path}: was not written by torch.save")
    return VoiceError(
        f"{path}: has the format that torch wrote before version 1.6. Save it again where torch is installed: "
        f'python -c "import torch; p = {str(path)!r}; '
        "torch.save(torch.load(p, map_location='cpu', weights_only=True), p)\""
    )


def _load(archive: Archive) -> Any:
    content = archive.read("data.pkl")
    if len(content) > MAX_PICKLE:
        raise BadFileError(f"its data.pkl of {len(content)} bytes is larger than {MAX_PICKLE}")
    check_opcodes(bytes(content))
    unpickler = _Unpickler(io.BytesIO(content), _Storages(archive))
    try:
        return unpickler.load()
    except BadFileError:
        raise
    except Exception as error:
        # A damaged pickle can raise almost anything.
        name = type(error).__name__
        raise BadFileError(f"damaged, or not written by torch.save ({name}: {plain(str(error))})") from error


@dataclass(frozen=True)
class _StorageType:
    name: str


class _Storage:
    """Stands for a storage in a pickle, which may set whatever attributes an object has; so this one has none."""

    __slots__ = ()


@dataclass(frozen=True)
class _Elements:
    """The elements of a storage, still as bits where they are bfloat16."""

    array: np.ndarray
    bfloat16: bool


class _Storages:
    """The storages of a file, each of which is read once, and how much of them tensors may take."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._read: dict[tuple[str, str], _Storage] = {}
        self._elements: dict[_Storage, _Elements] = {}
        order = bytes(archive.read("byteorder")).strip() if "byteorder" in archive else b"little"
        if order not in (b"little", b"big"):
            raise BadFileError(f"its byteorder is {quoted(order)}")
        self._order = ">" if order == b"big" else "<"
        self.left = _FREE

    def get(self, name: str, key: str, count: int) -> _Storage:
        """The storage `key`, of `count` elements of the class `name`."""
        if (name, key) not in self._read:
            dtype = np.dtype(self._order + _STORAGES[name])
            content = self._archive.read(f"data/{key}")
            if len(content) != count * dtype.itemsize:
                raise BadFileError(f"data/{key} has {len(content)} bytes for {quoted(count)} elements of a {name}")
            storage = self._read[name, key] = _Storage()
            self._elements[storage] = _Elements(np.frombuffer(content, dtype), name == "BFloat16Storage")
            self.left += 2 * len(content)
        storage = self._read[name, key]
        size = self.elements(storage).array.size
        if size != count:
            raise BadFileError(f"data/{key} has {size} elements, not {quoted(count)}")
        return storage

    def elements(self, storage: _Storage) -> _Elements:
        """What a storage holds."""
        return self._elements[storage]

    def take(self, nbytes: int) -> None:
        """Count what a tensor takes.

        Raises:
            BadFileError: all tensors together are much larger than the storages: many show the same, or one repeats it.
        """
        self.left -= nbytes
        if self.left < 0:
            raise BadFileError("its tensors are much larger than the file")


class _Unpickler(pickle.Unpickler):
    """Knows tensors, containers, strings and numbers; a pickle can call nothing but what `find_class` returns."""

    def __init__(self, file: io.BytesIO, storages: _Storages) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            # A new object each time: a pickle may set attributes of what it gets.
            return lambda *arguments: _rebuild(self._storages, *arguments)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _STORAGES:
            return _StorageType(name)
        raise BadFileError(
            f"holds {quoted(f'{module}.{name}')}; only tensors, containers, strings and numbers are read, since a "
            "pickle that may ask for more can run any code"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType() as kind, str() as key, _, int() as count):
                return self._storages.get(kind.name, key, count)
        raise BadFileError("refers to something outside of it that is not the storage of a tensor")


def _rebuild(storages: _Storages, *given: Any) -> np.ndarray:
    """A tensor of `shape` whose element [i, j, ...] is `storage[offset + i * strides[0] + j * strides[1] + ...]`."""
    match given:
        case (_Storage() as storage, int() as offset, tuple() as shape, tuple() as strides, *_):
            numbers = [offset, *shape, *strides]
        case _:
            numbers = [-1]
    if not all(type(number) is int and 0 <= number < 2**31 for number in numbers) or len(shape) != len(strides):
        raise BadFileError("a tensor's storage, offset, shape or strides are not what torch.save writes")
    if len(shape) > _MAX_AXES:
        raise BadFileError(f"a tensor of {len(shape)} axes, at most {_MAX_AXES} are read")
    held, count = storages.elements(storage), math.prod(shape)
    elements = held.array
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if count > _MAX_ELEMENTS or (count and last >= elements.size):
        raise BadFileError(
            f"a tensor of shape {quoted(list(shape))} does not fit its storage of {elements.size} elements"
        )
    storages.take(count * (4 if held.bfloat16 else elements.itemsize))
    if not count:
        array = np.empty(shape, elements.dtype)
    else:
        array = np.lib.stride_tricks.as_strided(
            elements[offset:], shape, [stride * elements.itemsize for stride in strides], writeable=False
        )
    if held.bfloat16:
        # bfloat16 is the upper half of float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(array.dtype.newbyteorder("="))
