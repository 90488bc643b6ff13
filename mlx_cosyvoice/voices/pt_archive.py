"""The zip of a `torch.save` file: its members, as they lie in the file, once their sizes and sums are known to be true.

Such a zip holds `NAME/data.pkl`, `NAME/data/0`, `NAME/data/1` ... and `NAME/byteorder`, all of them uncompressed.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from mlx_cosyvoice.quoting import quoted
from mlx_cosyvoice.strict import BadFileError

#: Bytes of a file: 200 speakers with recordings of 30 s, 100,000 without.
MAX_FILE = 96 << 20
#: Members of the zip: a tensor has one, and a speaker some ten.
MAX_MEMBERS = 20_000
#: Bytes of the pickle. A speaker takes about one kilobyte.
MAX_PICKLE = 8 << 20

#: How an entry of the list at the end of a zip begins.
_LISTED = b"PK\x01\x02"
#: What stands before a member: a mark, 22 bytes that the list has too, the lengths of the name and of an extra field.
_LOCAL = struct.Struct("<4s22xHH")


class Archive:
    """The members of a file of `torch.save`.

    Attributes:
        folder: what their names begin with, "archive/" say.

    Raises:
        BadFileError: not such a zip, or it lies about itself.
    """

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        # Each costs some hundred bytes of memory, and there is room for a million of them in a file.
        if content.count(_LISTED) > MAX_MEMBERS:
            raise BadFileError(f"a zip with more than {MAX_MEMBERS} members")
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error, LookupError) as error:
            raise BadFileError(f"damaged, or not written by torch.save ({quoted(str(error), 120)})") from error
        self._members = {info.filename: info for info in infos}
        if len(self._members) < len(infos):
            raise BadFileError("a zip with two members of one name")
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                # So that a small file cannot swell to fill the memory.
                raise BadFileError(f"{quoted(info.filename)} is compressed, which torch.save does not do")
        if sum(info.file_size for info in infos) > len(content):
            raise BadFileError("a zip whose members are larger than the file")
        pickles = [name for name in self._members if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise BadFileError("a zip, but not one that torch.save has written (it has no data.pkl)")
        self.folder = pickles[0].removesuffix("data.pkl")

    def __contains__(self, name: str) -> bool:
        return self.folder + name in self._members

    def read(self, name: str) -> memoryview:
        """The bytes of a member, given its name without the folder.

        Raises:
            BadFileError: no such member; encrypted or damaged.
        """
        info = self._members.get(self.folder + name)
        if info is None:
            raise BadFileError(f"has no member {quoted(name)}")
        start = info.header_offset + _LOCAL.size
        if info.header_offset < 0 or start > len(self._content):
            raise BadFileError(f"damaged: {quoted(name)} is not where the zip says")
        mark, *lengths = _LOCAL.unpack(self._content[info.header_offset : start])
        start += sum(lengths)
        content = self._content[start : start + info.file_size]
        if mark != b"PK\x03\x04" or info.flag_bits & 1 or len(content) < info.file_size:
            raise BadFileError(f"damaged: {quoted(name)} is not where the zip says")
        if zlib.crc32(content) != info.CRC:
            raise BadFileError(f"damaged: {quoted(name)} has another checksum than the zip says")
        return content
