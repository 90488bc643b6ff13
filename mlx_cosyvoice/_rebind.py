"""Points the functions that one loaded Linux library calls at another library, and leaves all others alone.

A library calls foreign functions through a table of addresses which the dynamic loader fills (the ELF global offset
table). This overwrites entries of that table for one library in this process. The usual alternative, to load the other
library with RTLD_GLOBAL, gives its functions to every library that is loaded later: PyTorch and NumPy bring BLAS
libraries of their own with the same symbol names, and crash when half of theirs are exchanged.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator

# From elf.h, for 64-bit little-endian systems.
_DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_RELASZ, _DT_JMPREL = 2, 5, 6, 7, 8, 23
_FUNCTION_ADDRESS = {6, 7, 1025, 1026}  # GLOB_DAT and JUMP_SLOT of x86-64, then of AArch64
_RTLD_DI_LINKMAP = 2


class _Dynamic(ctypes.Structure):
    _fields_ = (("tag", ctypes.c_int64), ("value", ctypes.c_uint64))


class _Relocation(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("info", ctypes.c_uint64), ("addend", ctypes.c_int64))


class _Symbol(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_uint32),
        ("info", ctypes.c_ubyte),
        ("other", ctypes.c_ubyte),
        ("section", ctypes.c_uint16),
        ("value", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
    )


class _LinkMap(ctypes.Structure):
    _fields_ = (
        ("base", ctypes.c_uint64),
        ("name", ctypes.c_char_p),
        ("dynamic", ctypes.POINTER(_Dynamic)),
    )


def table_entries(library: ctypes.CDLL) -> Iterator[tuple[str, int]]:
    """Name of each foreign function (or object) that `library` refers to, and the address of its table entry.

    Raises:
        OSError: the loader does not tell about the library.
    """
    loader = ctypes.CDLL(None)
    found = ctypes.POINTER(_LinkMap)()
    if loader.dlinfo(ctypes.c_void_p(library._handle), _RTLD_DI_LINKMAP, ctypes.byref(found)) != 0:
        raise OSError("dlinfo failed")
    tags: dict[int, int] = {}
    for entry in found.contents.dynamic:
        if entry.tag == 0:
            break
        tags[entry.tag] = entry.value
    for start, length in ((_DT_JMPREL, _DT_PLTRELSZ), (_DT_RELA, _DT_RELASZ)):
        count = tags.get(length, 0) // ctypes.sizeof(_Relocation)
        if not count:
            continue
        for relocation in (_Relocation * count).from_address(tags[start]):
            if relocation.info & 0xFFFFFFFF in _FUNCTION_ADDRESS:
                position = tags[_DT_SYMTAB] + (relocation.info >> 32) * ctypes.sizeof(_Symbol)
                name = ctypes.string_at(tags[_DT_STRTAB] + _Symbol.from_address(position).name)
                yield name.decode(), found.contents.base + relocation.offset


def rebind(library: ctypes.CDLL, provider: ctypes.CDLL, prefix: str) -> list[str]:
    """Make `library` call `provider`'s functions wherever it calls one whose name starts with `prefix`.

    Returns:
        The names that now lead to `provider`; a function that `provider` lacks stays as it was.

    Raises:
        OSError: the table cannot be read or written.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    done = []
    for name, position in list(table_entries(library)):
        if not name.startswith(prefix) or not hasattr(provider, name):
            continue
        # Loaders may write-protect the table once it is filled.
        page = position // mmap.PAGESIZE * mmap.PAGESIZE
        writable = mmap.PROT_READ | mmap.PROT_WRITE
        if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), writable) != 0:
            raise OSError(ctypes.get_errno(), "mprotect failed")
        address = ctypes.cast(getattr(provider, name), ctypes.c_void_p).value
        ctypes.c_void_p.from_address(position).value = address
        done.append(name)
    return done
