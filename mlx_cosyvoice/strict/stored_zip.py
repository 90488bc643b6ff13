"""The members of a zip that is not compressed, as `torch.save` writes it: where in the file each lies."""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from mlx_cosyvoice.quoting import quoted
from mlx_cosyvoice.strict.errors import BadFileError

_END, _END_SIZE = b"PK\x05\x06", 22
_END64, _END64_SIZE, _LOCATOR_SIZE = b"PK\x06\x06", 56, 20
_ENTRY_SIZE = 46
_LOCAL = struct.Struct("<4s22xHH")
_BLOCK = 4 << 20


@dataclass(frozen=True)
class Member:
    """A member: its first byte in the file, how many it has, and their CRC-32."""

    name: str
    start: int
    nbytes: int
    crc: int


class StoredZip:
    """The list of members.

    Args:
        file: the zip. It stays open as long as this is used.
        nbytes: bytes that it may have, so that no file of holes keeps the checksums busy.
        members: members that it may have. What the list says of each is read into some 600 bytes.

    Attributes:
        size: its bytes.

    Raises:
        BadFileError: not such a zip, damaged, cut off, compressed or encrypted, too large, or with too many members.
        OSError: the file cannot be read.
    """

    def __init__(self, file: BinaryIO, nbytes: int, members: int) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        if self.size > nbytes:
            raise BadFileError(f"is larger than {nbytes} bytes")
        _check_count(file, self.size, members)
        try:
            with zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, ValueError, LookupError, NotImplementedError, OverflowError, struct.error) as error:
            raise BadFileError(f"damaged or cut off ({quoted(str(error), 120)})") from error
        except OSError as error:
            if error.errno != errno.EINVAL:  # a place before the file's begin
                raise
            raise BadFileError("damaged or cut off") from error
        self.members: dict[str, Member] = {}
        for info in infos:
            if info.filename in self.members:
                raise BadFileError(f"has the member {quoted(info.filename)} twice")
            self.members[info.filename] = self._member(info)
        if sum(member.nbytes for member in self.members.values()) > self.size:
            raise BadFileError("its members overlap")

    def _member(self, info: zipfile.ZipInfo) -> Member:
        what = f"its member {quoted(info.filename)}"
        if info.compress_type != zipfile.ZIP_STORED:
            raise BadFileError(f"{what} is compressed, which torch.save does not do")
        if info.flag_bits & 1:
            raise BadFileError(f"{what} is encrypted")
        self._file.seek(max(info.header_offset, 0))
        header = self._file.read(_LOCAL.size) if info.header_offset >= 0 else b""
        if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
            raise BadFileError(f"damaged or cut off: {what} is not where it should be")
        _, name, extra = _LOCAL.unpack(header)
        start = info.header_offset + _LOCAL.size + name + extra
        if info.compress_size != info.file_size or start + info.file_size > self.size:
            raise BadFileError(f"damaged or cut off: {what} is said to have {info.file_size} bytes")
        return Member(info.filename, start, info.file_size, info.CRC)

    def read(self, member: Member, most: int) -> bytes:
        """The bytes of a member of at most `most`, its checksum compared."""
        if member.nbytes > most:
            raise BadFileError(f"its member {quoted(member.name)} has {member.nbytes} bytes, more than {most}")
        self._file.seek(member.start)
        content = self._file.read(member.nbytes)
        if zlib.crc32(content) != member.crc:
            raise _damaged(member)
        return content

    def check(self) -> None:
        """Compare the checksums of all members, block by block.

        Raises:
            BadFileError: one differs; the member is named.
        """
        for member in self.members.values():
            self._file.seek(member.start)
            crc, left = 0, member.nbytes
            while left:
                block = self._file.read(min(left, _BLOCK))
                if not block:
                    raise _damaged(member)
                crc, left = zlib.crc32(block, crc), left - len(block)
            if crc != member.crc:
                raise _damaged(member)


def _damaged(member: Member) -> BadFileError:
    return BadFileError(f"damaged: the bytes of its member {quoted(member.name)} do not have the checksum that it says")


def _check_count(file: BinaryIO, size: int, members: int) -> None:
    """Refuse a directory of too many members before it is read: it stands just before the end."""
    start = max(0, size - _END_SIZE - _LOCATOR_SIZE - _END64_SIZE - 65535)
    file.seek(start)
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0:
        raise BadFileError("damaged or cut off: the list of its members is missing")
    if len(tail) - end < _END_SIZE:
        raise BadFileError("damaged or cut off")
    (directory,) = struct.unpack_from("<L", tail, end + 12)
    end64 = end - _LOCATOR_SIZE - _END64_SIZE
    if end64 >= 0 and tail[end64:].startswith(_END64):  # what it says is taken instead
        (directory,) = struct.unpack_from("<Q", tail, end64 + 40)
    if directory > members * 2 * _ENTRY_SIZE:
        raise BadFileError(f"has more than {members} members")
