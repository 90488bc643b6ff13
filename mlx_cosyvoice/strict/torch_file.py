"""What `torch.save` has written, read as data: its zip, its pickle, and which elements of its storages tensors show.

Such a file is a zip: `NAME/data.pkl` holds the objects, `NAME/data/0`, `NAME/data/1` ... the bytes of the tensors'
storages, `NAME/byteorder` "little" or "big". The pickle rebuilds a tensor by a call of
`torch._utils._rebuild_tensor_v2` with a storage, which is a persistent id: ("storage", class, key, device, elements).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from mlx_cosyvoice.quoting import plain, quoted
from mlx_cosyvoice.strict.errors import BadFileError
from mlx_cosyvoice.strict.pickle_data import ForeignObjectError, Name, read_pickle
from mlx_cosyvoice.strict.stored_zip import Member, StoredZip

#: How the two formats begin that `torch.save` has: a zip, and before version 1.6 (or on request) a pickled number.
_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

MAX_AXES = 8


class OldFormatError(BadFileError):
    """What `torch.save` wrote once; the message says how to save it again."""


def is_zip(start: bytes) -> bool:
    """Whether a file that begins so is a zip, as those of `torch.save` are."""
    return start.startswith(_ZIP)


def check_start(path: Path, file: BinaryIO) -> None:
    """Look at the first bytes of a file.

    Raises:
        OldFormatError: `torch.save` has written it, but in the format of old.
        BadFileError: it has not.
    """
    file.seek(0)
    start = file.read(len(_LEGACY))
    if start == _LEGACY:
        raise OldFormatError(
            "has the format that PyTorch wrote before version 1.6, which may carry code, and was not loaded. Save it "
            f'again where PyTorch is installed, if you trust it: python -c "import torch; p = {str(path)!r}; '
            "torch.save(torch.load(p, map_location='cpu', weights_only=True), p)\""
        )
    if not is_zip(start):
        raise BadFileError("was not written by torch.save (it is no zip)")


@dataclass(frozen=True)
class Bounds:
    """What a file may have at most.

    Attributes:
        nbytes: bytes of the file.
        members: members of the zip: a tensor has one.
        pickle: bytes of the pickle.
        opcodes: instructions of the pickle.
        sharing: times the file's bytes that all tensors together may have, as some share a storage ...
        free: ... and so many bytes more, for small ones that repeat their elements.
    """

    nbytes: int
    members: int
    pickle: int
    opcodes: int
    sharing: int
    free: int = 0


@dataclass(frozen=True, eq=False)
class Storage:
    """A storage: its class in module `torch`, and how many elements it has, of how many bytes each.

    Attributes:
        elements: what `TorchFile.elements` made of it.
    """

    kind: str
    count: int
    itemsize: int
    elements: Any = field(repr=False)


class TorchFile(ABC):
    """The objects of a file, with tensors of the kind that a subclass makes.

    Args:
        file: a zip; see `check_start`.
        bounds: what it may have.
        itemsizes: class of a storage in module `torch` -> bytes of its elements; others are refused.

    Attributes:
        order: of the bytes of a number, "little" or "big".

    Raises:
        ForeignObjectError: it holds something else than data.
        BadFileError: damaged, cut off, not as `torch.save` writes it, or beyond the bounds.
    """

    def __init__(self, file: BinaryIO, bounds: Bounds, itemsizes: Mapping[str, int]) -> None:
        self.archive = StoredZip(file, bounds.nbytes, bounds.members)
        self._bounds, self._itemsizes = bounds, itemsizes
        pickles = [name for name in self.archive.members if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise BadFileError("a zip, but not one that torch.save has written (it lacks the one data.pkl)")
        self._folder = pickles[0].removesuffix("data.pkl")
        if f"{self._folder}constants.pkl" in self.archive.members:
            raise ForeignObjectError("is a TorchScript program (torch.jit.save), not what torch.save writes")
        member = self.archive.members.get(f"{self._folder}byteorder")
        order = b"little" if member is None else self.archive.read(member, 100).strip()
        if order not in (b"little", b"big"):
            raise BadFileError(f"its byteorder is {quoted(order)}")
        self.order = order.decode()
        self._left = bounds.free + bounds.sharing * self.archive.size
        self._storages: dict[tuple[str, str], Storage] = {}

    def read(self) -> Any:
        """The object.

        Raises:
            ForeignObjectError: it holds something else than tensors, containers, text and numbers.
            BadFileError: damaged, or beyond the bounds.
        """
        content = self.archive.read(self._member("data.pkl"), self._bounds.pickle)
        return read_pickle(content, self.call, self._storage, self._bounds.opcodes)

    @abstractmethod
    def elements(self, member: Member, kind: str) -> Any:
        """The elements of a storage of the class `kind`."""

    @abstractmethod
    def tensor(self, storage: Storage, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Any:
        """The tensor whose element [i, j, ...] is that at `offset + i * strides[0] + j * strides[1] + ...`."""

    def spend(self, nbytes: int) -> None:
        """Count the bytes of a tensor.

        Raises:
            BadFileError: all together have more than the bounds allow.
        """
        self._left -= nbytes
        if self._left < 0:
            raise BadFileError("a tensor makes all of them together much larger than the file")

    def call(self, function: Name, arguments: tuple) -> Any:
        """What a call in the pickle stands for."""
        match (function.module, function.name), arguments:
            case ("collections", "OrderedDict"), ():
                return OrderedDict()
            case ("torch._utils", "_rebuild_tensor_v2"), (storage, offset, shape, strides, *_):
                return self._rebuilt(storage, offset, shape, strides)
        raise ForeignObjectError(f"holds {function}")

    def _member(self, name: str) -> Member:
        member = self.archive.members.get(self._folder + name)
        if member is None:
            raise BadFileError(f"it lacks {quoted(name)}")
        return member

    def _storage(self, pid: Any) -> Storage:
        match pid:
            case ("storage", Name("torch", str() as kind), str() as key, _, int() as count) if kind in self._itemsizes:
                if (kind, key) not in self._storages:
                    self._storages[kind, key] = self._new_storage(kind, f"data/{key}", count)
                if self._storages[kind, key].count != count:
                    raise BadFileError(f"a storage has {quoted(count)} elements in one place and others elsewhere")
                return self._storages[kind, key]
            case ("storage", Name() as kind, *_):
                raise ForeignObjectError(f"holds {kind}")
        raise BadFileError("its pickle refers to something outside of it that is not the storage of a tensor")

    def _new_storage(self, kind: str, name: str, count: int) -> Storage:
        member, itemsize = self._member(name), self._itemsizes[kind]
        if member.nbytes != count * itemsize:
            raise BadFileError(f"{plain(name)} has {member.nbytes} bytes for {quoted(count)} elements of a {kind}")
        return Storage(kind, count, itemsize, self.elements(member, kind))

    def _rebuilt(self, storage: Any, offset: Any, shape: Any, strides: Any) -> Any:
        if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise BadFileError("a tensor's storage, shape or strides are not what torch.save writes")
        whole = all(type(number) is int and 0 <= number < 1 << 48 for number in (offset, *shape, *strides))
        if not whole or len(shape) != len(strides) or len(shape) > MAX_AXES:
            raise BadFileError(f"a tensor has the shape {quoted(shape)} and the strides {quoted(strides)}")
        count = math.prod(shape)
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if count and last >= storage.count:
            raise BadFileError(
                f"a tensor of shape {quoted(shape)} does not fit its storage of {storage.count} elements"
            )
        self.spend(count * storage.itemsize)
        return self.tensor(storage, shape, strides, offset)
