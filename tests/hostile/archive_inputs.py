"""Hostile `.pt` files: the zip around, the pickle inside, and the tensors that it describes."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.hostile.harness import Inputs

HIFT, SPEAKERS = "hift.pt", "spk2info.pt"
INPUTS = Inputs()

#: A key that hift.pt has, and one that it has not.
KEY = "generator.conv_pre.bias"


class Asks:
    """Unpickled by anything that does not look, it calls something."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


# The zip


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _folder(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()[0].split("/")[0]


def _zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _recompressed(path: Path, compression: int) -> None:
    _zip(path, _members(path), compression)


def _bytes(path: Path, change: Callable[[bytearray], Any]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def _directory(content: bytearray) -> int:
    """Where the list of members begins."""
    return struct.unpack_from("<L", content, content.rfind(b"PK\x05\x06") + 16)[0]


def _in_directory(offset: int, form: str, value: int) -> Callable[[bytearray], Any]:
    """Another value in the first entry of the list."""
    return lambda content: struct.pack_into(form, content, _directory(content) + offset, value)


def _in_end64(offset: int, form: str, value: int) -> Callable[[bytearray], Any]:
    """Another value in the record that PyTorch writes before the end, where 64 bits stand for 32."""
    return lambda content: struct.pack_into(form, content, content.rfind(b"PK\x06\x06") + offset, value)


for _file in (HIFT, SPEAKERS):
    INPUTS.add_each(_file, "zip", {
        "deflated": zipfile.ZIP_DEFLATED,
        "bzip2": zipfile.ZIP_BZIP2,
        "lzma": zipfile.ZIP_LZMA,
    }, _recompressed, _file)  # fmt: skip
    INPUTS.add_each(_file, "bytes", {
        "cut-in-the-middle": lambda content: content.__delitem__(slice(len(content) // 2, None)),
        "cut-at-the-end": lambda content: content.__delitem__(slice(-1, None)),
        "head-only": lambda content: content.__delitem__(slice(4, None)),
        "no-head": lambda content: content.__delitem__(slice(0, 4)),
        "checksum": _in_directory(16, "<L", 0),
        "compressed-size": _in_directory(20, "<L", 1),
        "size": _in_directory(24, "<L", 0x7FFFFFFF),
        "place": _in_directory(42, "<L", 0x7FFFFFFF),
        "encrypted": _in_directory(8, "<H", 1),
        "method": _in_directory(10, "<H", 99),
        "version": _in_directory(6, "<B", 99),
        "name-length": _in_directory(28, "<H", 0xFFFF),
        "list-size": _in_end64(40, "<Q", 0x7FFFFFF0),
        "list-place": _in_end64(48, "<Q", 0x7FFFFFF0),
        "list-of-everything": _in_end64(40, "<Q", 2**64 - 1),
        "local-name-length": lambda content: struct.pack_into("<H", content, 26, 0xFFFF),
        "flipped-bit": lambda content: content.__setitem__(len(content) // 2, content[len(content) // 2] ^ 1),
    }, _bytes, _file)  # fmt: skip


@INPUTS.add(HIFT, "hift.pt")
def bomb(path: Path) -> None:
    """A gigabyte of zeros in a megabyte, as a storage of the right size."""
    members = _members(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in members.items():
            if not name.endswith("/data/0"):
                archive.writestr(name, content)
        with archive.open(f"{_first(members)}/data/0", "w") as storage:
            block = bytes(1 << 24)
            for _ in range(16):
                storage.write(block)


def _first(members: dict[str, bytes]) -> str:
    return next(iter(members)).split("/")[0]


@INPUTS.add(HIFT, "members")
def many_members(path: Path) -> None:
    """A list of 200,000 entries that all point at one member."""
    content = b"PK\x03\x04" + bytes(26)
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    listed = entry * 200_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(listed), len(content), 0)
    path.write_bytes(content + listed + end)


@INPUTS.add(HIFT, "members")
def many_members_in_64_bits(path: Path) -> None:
    """As above, but the number that everybody looks at says that there are few."""
    many_members(path)
    content = path.read_bytes()
    at = content.rfind(b"PK\x05\x06")
    size, place = struct.unpack_from("<LL", content, at + 12)
    record = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 200_000, 200_000, size, place)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    path.write_bytes(content[:at] + record + locator + content[at : at + 12] + bytes(4) + content[at + 16 :])


@INPUTS.add(HIFT, "hift.pt")
def member_twice(path: Path) -> None:
    members = _members(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in [*members.items(), *list(members.items())[:1]]:
            archive.writestr(name, content)


@INPUTS.add(HIFT, "data.pkl")
def no_pickle(path: Path) -> None:
    _zip(path, {name: content for name, content in _members(path).items() if not name.endswith("data.pkl")})


@INPUTS.add(HIFT, "data.pkl")
def two_pickles(path: Path) -> None:
    members = _members(path)
    _zip(path, {**members, "other/data.pkl": members[f"{_first(members)}/data.pkl"]})


@INPUTS.add(HIFT, "big-endian")
def byte_order(path: Path) -> None:
    members = _members(path)
    _zip(path, {**members, f"{_first(members)}/byteorder": b"big"})


@INPUTS.add(HIFT, "TorchScript")
def program(path: Path) -> None:
    members = _members(path)
    _zip(path, {**members, f"{_first(members)}/constants.pkl": b"\x80\x02).", f"{_first(members)}/code/a.py": b"x"})


@INPUTS.add(HIFT, "1.6")
def old_format(path: Path) -> None:
    torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)


@INPUTS.add(HIFT, "1.6", "was not loaded")
def old_format_with_code(path: Path) -> None:
    torch.save({"x": Asks(os.mkdir, "/nowhere/x")}, path, _use_new_zipfile_serialization=False)


@INPUTS.add(HIFT, "hift.pt")
def another_zip(path: Path) -> None:
    _zip(path, {"a.txt": b"a"})


# The pickle


def _with_pickle(path: Path, content: bytes) -> None:
    members = _members(path)
    _zip(path, {**members, f"{_first(members)}/data.pkl": content})


def _text(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<L", len(raw)) + raw


def _mapping(value: bytes, key: str = KEY) -> bytes:
    return b"\x80\x02}" + _text(key) + value + b"s."


def _storage(kind: str = "FloatStorage", key: str = "0", count: bytes = b"K\x04") -> bytes:
    return b"(" + _text("storage") + f"ctorch\n{kind}\n".encode() + _text(key) + _text("cpu") + count + b"tQ"


def _tensor(storage: bytes, offset: bytes = b"K\x00", shape: bytes = b"K\x04", strides: bytes = b"K\x01") -> bytes:
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + b"(" + shape + b"t(" + strides + b"tN}tR"


#: A tuple that holds itself twice, forty levels deep: its hash takes a trillion steps, unless it is remembered.
_HASH_BOMB = b")" + b"".join(b"r" + struct.pack("<L", n) + b"j" + struct.pack("<L", n) + b"\x86" for n in range(40))
_MARKS = b"(" * 200_000

for _file in (HIFT, SPEAKERS):
    INPUTS.add_each(_file, "pickle", {
        "memo": b"\x80\x02}r\xff\xff\xff\x7f.",
        "memo-unsigned": b"\x80\x02}r\xff\xff\xff\xff.",
        "no-such-memo": b"\x80\x02j\xff\xff\xff\x7f.",
        "hash-bomb": b"\x80\x02}" + _HASH_BOMB + b"Ns.",
        "deep-lists": b"\x80\x02}" + _text(KEY) + b"]" * 100_000 + b"a" * 99_999 + b"s.",
        "deep-tuples": b"\x80\x02}" + _text(KEY) + b")" + b"\x85" * 100_000 + b"s.",
        "marks": b"\x80\x02" + _MARKS + b".",
        "marks-and-ends": b"\x80\x02" + (b"((((t" * 100_000) + b".",
        "opcodes": b"\x80\x02" + b"N0" * 600_000 + b"}.",
        "large": b"\x80\x02}" + _text("x" * (17 << 20)) + b"Ns.",
        "bytearray": b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
        "bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        "long": b"\x80\x02}" + _text(KEY) + b"\x8b" + struct.pack("<l", 1_000_000) + b"\x7f" * 1_000_000 + b"s.",
        "negative-long": b"\x80\x02\x8b\xff\xff\xff\xff.",
        "frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.",
        "no-end": b"\x80\x02}",
        "empty": b"",
        "nothing": b"\x80\x02.",
        "too-few": b"\x80\x02}s.",
        "no-mark": b"\x80\x02}u.",
        "uneven": b"\x80\x02}(Nu.",
        "unknown-opcode": b"\x80\x02\xfe.",
        "protocol": b"\x80\xff}.",
        "fill-a-number": b"\x80\x02K\x01K\x02K\x03s.",
        "fill-a-name": b"\x80\x02ccollections\nOrderedDict\nK\x02K\x03s.",
        "call-a-number": b"\x80\x02K\x01)R.",
        "persistent": b"\x80\x02K\x01Q.",
        "text-persistent": b"Px\n.",
        "extension": b"\x80\x02\x82\x01.",
        "buffer": b"\x80\x05\x97.",
        "set": b"\x80\x04\x8f.",
        "number": b"\x80\x02K\x01.",
        "name-alone": b"ctorch\nload\n.",
        "not-text": b"\x80\x02X\x02\x00\x00\x00\xff\xff.",
        "system": b"cos\nsystem\n(S'true'\ntR.",
        "inst": b"(S'true'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'true'\no.",
        "stack-global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        "global-of-numbers": b"\x80\x04K\x01K\x02\x93.",
        "new-object": b"\x80\x02ctorch\nload\n)\x81.",
        "long-name": b"c" + b"x" * 500_000 + b"\n" + b"y" * 500_000 + b"\n)R.",
        "attributes": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
        "ordered": b"\x80\x02ccollections\nOrderedDict\n(K\x01tR.",
    }, _with_pickle, _file)  # fmt: skip

INPUTS.add_each(HIFT, "tensor", {
    "one-element-as-many": _tensor(_storage(), b"K\x00", b"J\x00\x00\x00\x7f", b"K\x00"),
    "square-of-one": _tensor(_storage(), b"K\x00", b"J\x00\x00\x01\x00J\x00\x00\x01\x00", b"K\x00K\x00"),
    "beyond": _tensor(_storage(), b"K\x02"),
    "stride": _tensor(_storage(), b"K\x00", b"K\x02", b"K\x04"),
    "minus-stride": _tensor(_storage(), b"K\x03", b"K\x02", b"J\xff\xff\xff\xff"),
    "minus-offset": _tensor(_storage(), b"J\xff\xff\xff\xff", b"K\x01"),
    "minus-size": _tensor(_storage(), b"K\x00", b"J\xff\xff\xff\xff"),
    "many-axes": _tensor(_storage(), b"K\x00", b"K\x01" * 100, b"K\x01" * 100),
    "huge-size": _tensor(_storage(), b"K\x00", b"\x8a\x20" + b"\x7f" * 32),
    "nothing-huge": _tensor(_storage(), b"K\x00", b"K\x00J\xff\xff\xff\x7fJ\xff\xff\xff\x7f", b"K\x01K\x01K\x01"),
    "float-size": _tensor(_storage(), b"K\x00", b"G?\xf0\x00\x00\x00\x00\x00\x00"),
    "text-shape": b"ctorch._utils\n_rebuild_tensor_v2\n(" + _storage() + b"K\x00" + _text("x") + b")N}tR",
    "no-arguments": b"ctorch._utils\n_rebuild_tensor_v2\n)R",
    "storage-size": _tensor(_storage(count=b"J\xff\xff\xff\x7f")),
    "storage-minus": _tensor(_storage(count=b"J\xff\xff\xff\xff")),
    "storage-elsewhere": _tensor(_storage(key="../../../etc/passwd")),
    "storage-missing": _tensor(_storage(key="x" * 100_000)),
    "storage-kind": _tensor(_storage(kind="ComplexFloatStorage")),
    "storage-of-nothing": _tensor(_storage(kind="no.such.Storage")),
    "storage-other-kind": _tensor(_storage(kind="DoubleStorage")),
    "storage-tuple": _tensor(b"(" + _text("storage") + b"tQ"),
    "sparse": b"ctorch._utils\n_rebuild_sparse_tensor\n)R",
    "meta": b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n)R",
    "array": b"cnumpy.core.multiarray\n_reconstruct\n)R",
    "list": b"](K\x01K\x02e",
}, lambda path, value: _with_pickle(path, _mapping(value)), "hift.pt")  # fmt: skip


# What the state dict holds


def _state(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    state = torch.load(path, weights_only=True)
    changed = change(state)
    torch.save(state if changed is None else changed, path)


def _fill(value: float) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.update({KEY: torch.full_like(state[KEY], value)})


INPUTS.add_each(HIFT, "state", {
    "list": lambda state: list(state.values()),
    "nothing": lambda state: {},
    "tensor": lambda state: torch.zeros(3),
    "text": lambda state: "x" * 1_000_000,
    "nan": _fill(float("nan")),
    "infinite": _fill(float("-inf")),
    "numbers": lambda state: state.update({KEY: state[KEY].int()}),
    "truths": lambda state: state.update({KEY: state[KEY] > 0}),
    "complex": lambda state: state.update({KEY: state[KEY].to(torch.complex64)}),
    "scalar": lambda state: state.update({KEY: torch.tensor(1.0)}),
    "none-of-it": lambda state: state.update({KEY: torch.zeros(0)}),
    "expanded": lambda state: state.update({KEY: torch.zeros(1).expand(state[KEY].shape)}),
    "code": lambda state: state.update({KEY: Asks(os.mkdir, "/nowhere/x")}),
    "module": lambda state: torch.nn.Linear(2, 2),
    "quantized": lambda state: state.update({KEY: torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.qint8)}),
    "sparse": lambda state: state.update({KEY: state[KEY].to_sparse()}),
    "long-key": lambda state: state.update({"x" * 4_000_000: torch.zeros(2)}),
    "many-keys": lambda state: state.update({f"k{n}" * 20: torch.zeros(1) for n in range(3000)}),
    "escape": lambda state: state.update({"\x1b[2J\x1b]0;owned\x07": torch.zeros(2)}),
    "line-ends": lambda state: state.update({"a\nb\r\nerror: all is well": torch.zeros(2)}),
    "key-of-bytes": lambda state: state.update({b"x": torch.zeros(2)}),
    "key-of-numbers": lambda state: state.update({3: torch.zeros(2)}),
    "key-of-tuples": lambda state: state.update({(1, 2): torch.zeros(2)}),
    "key-that-is-a-tensor": lambda state: {torch.zeros(1): torch.zeros(2)},
}, _state, "hift.pt")  # fmt: skip


@INPUTS.add(HIFT, "hift.pt")
def shared_storage(path: Path) -> None:
    """Every tensor is a view of one large storage, so that the file is a fraction of what it describes."""
    whole = torch.zeros(1 << 20)
    torch.save({f"k{n}": whole[:] for n in range(2000)}, path)


@INPUTS.add(HIFT, "hift.pt")
def wrong_checksum_of_a_storage(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        info = next(info for info in archive.infolist() if info.file_size > 1000 and "/data/" in info.filename)
    content = bytearray(path.read_bytes())
    content[info.header_offset + 200] ^= 0x40
    assert zlib.crc32(content)
    path.write_bytes(content)


# Speakers


def _speakers(path: Path, content: Any) -> None:
    torch.save(content, path)


_VOICE = torch.zeros(1, 192) + 0.1

INPUTS.add_each(SPEAKERS, "speakers", {
    "list": [1, 2],
    "number": 3,
    "numbered": {1: {"embedding": _VOICE}},
    "text": {"anna": "x" * 100_000},
    "nothing": {"anna": {}},
    "keys": {"anna": {"x" * 4_000_000: 1}},
    "nan": {"anna": {"embedding": _VOICE * float("nan")}},
    "wide": {"anna": {"embedding": torch.zeros(1, 1_000_000)}},
    "axes": {"anna": {"embedding": torch.zeros(1, 1, 1, 192)}},
    "list-of-lists": {"anna": {"embedding": [[[1.0]] * 3, 2.0]}},
    "text-embedding": {"anna": {"embedding": "192"}},
    "none": {"anna": {"embedding": None}},
    "long-name": {"x" * 4_000_000: {"embedding": torch.zeros(3)}},
    "escape": {"\x1b[2J\nx": {"embedding": torch.zeros(3)}},
    "tokens": {"anna": {"embedding": _VOICE, "flow_prompt_speech_token": torch.zeros(1, 5)}},
    "token-ids": {"anna": {"embedding": _VOICE, "flow_prompt_speech_token": torch.full((1, 5), 10**9)}},
    "mel": {"anna": {"embedding": _VOICE, "flow_prompt_speech_token": torch.zeros(1, 5, dtype=torch.int32),
                     "prompt_speech_feat": torch.zeros(1, 10, 3)}},
}, _speakers, "spk2info.pt")  # fmt: skip


def _laughing_list(path: Path) -> None:
    laughs: Any = [0.5, 0.5]
    for _ in range(40):
        laughs = [laughs, laughs]
    _members_path = {"anna": {"embedding": laughs}}
    torch.save(_members_path, path)


INPUTS.add(SPEAKERS, "spk2info.pt")(_laughing_list)


@INPUTS.add(SPEAKERS, "spk2info.pt")
def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"anna": {"embedding": [0.1] * 192}}))
