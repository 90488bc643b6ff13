"""Hostile `spk2info.pt`: pickles that would take memory, stack or time, and zips that lie."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.harness import Inputs
from tests.hostile.safetensors_inputs import NASTY

FILE = "spk2info.pt"
INPUTS = Inputs()


def archive(content: bytes, storages: dict[str, bytes] | None = None, order: bytes | None = b"little") -> bytes:
    """A zip as torch.save writes it, with that pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", content)
        if order is not None:
            file.writestr("archive/byteorder", order)
        for name, data in ({"0": bytes(768)} if storages is None else storages).items():
            file.writestr(f"archive/data/{name}", data)
    return buffer.getvalue()


def _text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def _whole(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def _tuple(items: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_whole, items)) + b"t"


def storage(count: int | bytes = 192, kind: str = "FloatStorage", key: str = "0") -> bytes:
    number = count if isinstance(count, bytes) else _whole(count)
    return b"(" + _text("storage") + f"ctorch\n{kind}\n".encode() + _text(key) + _text("cpu") + number + b"tQ"


def tensor(
    shape: tuple[int, ...] = (1, 192), strides: tuple[int, ...] = (192, 1), offset: int = 0, of: bytes | None = None
) -> bytes:
    """The instructions that rebuild a tensor."""
    what = storage() if of is None else of
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + what
        + _whole(offset)
        + _tuple(shape)
        + _tuple(strides)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def speaker(embedding: bytes, name: bytes | None = None, key: str = "embedding") -> bytes:
    """A pickle of one speaker."""
    return b"\x80\x02}" + (name or _text("anna")) + b"}" + _text(key) + embedding + b"ss."


def _nested(depth: int, begin: bytes, end: bytes) -> bytes:
    return begin * depth + end * depth


def _laughs(wide: int, deep: int) -> bytes:
    """A list of `wide` times one list of `wide` times one list ..."""
    text = b"](" + (b"G?\xf0" + bytes(6)) * wide + b"e"
    for level in range(deep):
        text += b"q" + bytes([level]) + b"0](" + (b"h" + bytes([level])) * wide + b"e"
    return text


#: Pickles.
PICKLES: dict[str, Callable[[], bytes]] = {
    "memo-2^31": lambda: b"\x80\x02}r\xff\xff\xff\x7f.",
    "memo-2^32": lambda: b"\x80\x02}r\xff\xff\xff\xff.",
    "memo-in-digits": lambda: b"\x80\x02}p99999999999\n.",
    "memo-minus": lambda: b"\x80\x02}p-5\n.",
    "memo-5000-digits": lambda: b"\x80\x02}p" + b"9" * 5000 + b"\n.",
    "memo-not-there": lambda: b"\x80\x02j\xff\xff\xff\x7f.",
    "integer-of-1-MB": lambda: b"\x80\x02\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20) + b".",
    "integer-of-255-bytes": lambda: speaker(b"\x8a\xff" + b"\x7f" * 255),
    "integer-minus-length": lambda: b"\x80\x02\x8b\xff\xff\xff\xff.",
    "integer-of-5000-digits": lambda: b"\x80\x02L" + b"9" * 5000 + b"L\n.",
    "text-of-4-GB": lambda: b"\x80\x02X\xff\xff\xff\xff.",
    "text-of-2^63": lambda: b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b".",
    "bytes-of-2^40": lambda: b"\x80\x05\x8e" + struct.pack("<Q", 2**40) + b".",
    "bytearray-of-2^40": lambda: b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "frame-of-2^62": lambda: b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}.",
    "buffer": lambda: b"\x80\x05\x97.",
    "protocol-200": lambda: b"\x80\xc8}.",
    "extension": lambda: b"\x80\x02\x82\x01.",
    "no-end": lambda: b"\x80\x02}",
    "nothing": lambda: b"",
    "pops-nothing": lambda: b"\x80\x020000.",
    "marks": lambda: b"\x80\x02" + b"(" * 200_000 + b".",
    "tuples-as-key": lambda: b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
    "tuples-by-memo": lambda: b"\x80\x04})\x94" + b"".join(b"h%c\x85\x94" % (n % 256) for n in range(250)) + b"Ns.",
    "tuples-in-a-set": lambda: b"\x80\x04})" + b"\x85" * 100_000 + b"\x91.",
    "deep-lists": lambda: speaker(_nested(100_000, b"]", b"a")[:-1]),
    "deep-dicts": lambda: b"\x80\x02}" + (_text("a") + b"}") * 60_000 + b"s" * 60_000 + b".",
    "holds-itself": lambda: b"\x80\x02}q\x00" + _text("anna") + b"h\x00s.",
    "list-holds-itself": lambda: speaker(b"]q\x00h\x00a"),
    "laughing-lists": lambda: speaker(_laughs(10, 9)),
    "wide-lists": lambda: speaker(_laughs(400, 3)),
    "many-instructions": lambda: b"\x80\x02" + b"N0" * 300_000 + b"}.",
    "many-speakers": lambda: b"\x80\x02}(" + b"".join(_text(str(n)) + b"N" for n in range(90_000)) + b"u.",
    "list": lambda: b"\x80\x02].",
    "none": lambda: b"\x80\x02N.",
    "number-as-name": lambda: speaker(tensor(), b"K\x05"),
    "tuple-as-name": lambda: speaker(tensor(), _tuple(tuple(range(1000)))),
    "bytes-as-name": lambda: speaker(tensor(), b"c_codecs\nencode\n"),
    "nasty-name": lambda: speaker(b"K\x05", _text(NASTY)),
    "name-of-4-MB": lambda: speaker(tensor((1, 2)), _text("x" * (4 << 20))),
    "half-a-name": lambda: speaker(tensor(), _text("\ud800")),
    "nasty-keys": lambda: b"\x80\x02}" + _text("anna") + b"}" + _text(NASTY * 10_000) + b"Nss.",
    "text-as-embedding": lambda: speaker(_text("x" * (4 << 20))),
    "dict-as-embedding": lambda: speaker(b"}"),
    "none-as-embedding": lambda: speaker(b"N"),
    "storage-as-embedding": lambda: speaker(storage()),
    "lists-of-two-lengths": lambda: speaker(b"](](K\x01e](K\x01K\x02ee"),
    "lists-of-dicts": lambda: speaker(b"](}}e"),
    "numbers-of-120-bits": lambda: speaker(b"](" + (b"\x8a\x0f" + b"\x7f" * 15) * 192 + b"e"),
    "true-as-embedding": lambda: speaker(b"](" + b"\x88" * 192 + b"e"),
    "attributes": lambda: speaker(b"ctorch._utils\n_rebuild_tensor_v2\n}" + _text("__code__") + b"Nsb"),
    "calls-a-storage": lambda: speaker(b"ctorch\nFloatStorage\n)R"),
    "calls-with-nothing": lambda: speaker(b"ctorch._utils\n_rebuild_tensor_v2\n)R"),
    "calls-with-much": lambda: speaker(b"ccollections\nOrderedDict\n(K\x01K\x02K\x03tR"),
    "nasty-module": lambda: b"\x80\x04" + b"\x8c\x05\x1b[31m" + _text("y" * (1 << 20)) + b"\x93.",
    "system": lambda: b"cos\nsystem\n(S'true'\ntR.",
    "codecs": lambda: speaker(b"c_codecs\nencode\n(" + _text("x") + _text("latin1") + b"tR"),
    "numpy": lambda: speaker(b"cnumpy.core.multiarray\n_reconstruct\n)R"),
    "shape-beyond": lambda: speaker(tensor((1, 193), (193, 1))),
    "offset-beyond": lambda: speaker(tensor(offset=1)),
    "offset-2^80": lambda: speaker(tensor(offset=2**80)),
    "shape-minus": lambda: speaker(tensor((-1, -192))),
    "strides-minus": lambda: speaker(tensor((1, 192), (192, -1), 191)),
    "shape-2^40": lambda: speaker(tensor((2**40, 2**40), (0, 0))),
    "shape-overflow": lambda: speaker(tensor((2**32, 2**32), (0, 0))),
    "none-of-2^30": lambda: speaker(tensor((0, 2**30, 2**30), (1, 1, 1))),
    "one-element-2^24-times": lambda: speaker(tensor((1 << 24,), (0,))),
    "much-of-one-element": lambda: (
        b"\x80\x02]("
        + tensor((1 << 23,), (0,), of=storage() + b"q\x01")
        + tensor((1 << 23,), (0,), of=b"h\x01") * 100
        + b"e."
    ),
    "axes": lambda: speaker(tensor((1,) * 5000, (1,) * 5000)),
    "axes-without-strides": lambda: speaker(tensor((1, 192), (192,))),
    "shape-list": lambda: speaker(tensor().replace(_tuple((1, 192)), b"](K\x01K\xc0e", 1)),
    "storage-of-fewer": lambda: speaker(tensor(of=storage(191))),
    "storage-of-2^100": lambda: speaker(tensor(of=storage(2**100))),
    "storage-of-minus": lambda: speaker(tensor(of=storage(-192))),
    "storage-of-true": lambda: speaker(tensor(of=storage(b"\x88"))),
    "storage-of-none": lambda: speaker(tensor(of=storage(b"N"))),
    "storage-unknown": lambda: speaker(tensor(of=storage(kind="ComplexFloatStorage"))),
    "storage-elsewhere": lambda: speaker(tensor(of=storage(key="../../../etc/passwd"))),
    "storage-not-there": lambda: speaker(tensor(of=storage(key="7"))),
    "storage-of-two-kinds": lambda: b"\x80\x02](" + tensor() + tensor(of=storage(96, "DoubleStorage")) + b"e.",
    "reference-to-a-text": lambda: speaker(_text("x") + b"Q"),
    "reference-in-text": lambda: speaker(b"Pnobody\n"),
    "made-anew": lambda: b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)\x81.",
    "called-again": lambda: b"\x80\x02ccollections\nOrderedDict\n)R(K\x01t)R.",
    "pairs-of-itself": lambda: b"\x80\x02ccollections\nOrderedDict\n]q\x00(h\x00h\x00e\x85R.",
    "set": lambda: b"\x80\x04\x8f(K\x01K\x02\x90.",
    "nan-in-a-list": lambda: speaker(b"](" + (b"G\x7f\xf8" + bytes(6)) * 192 + b"e"),
    "reference-in-bytes": lambda: speaker(b"C\x01xQ"),
    "attribute-of-a-class": lambda: b"\x80\x04\x8c\x05torch\x8c\x16FloatStorage.__class__\x93.",
    "shape-set": lambda: speaker(tensor() + b"}" + _text("shape") + _tuple((1, 2**40)) + b"sb"),
    "strides-set": lambda: speaker(tensor() + b"N}" + _text("strides") + _tuple((2**40, 2**40)) + b"s\x86b"),
    "array-set-anew": lambda: speaker(tensor() + b"(K\x01(K\x01K\x02tNNNtb"),
    "array-appended": lambda: speaker(tensor() + b"K\x01a"),
    "storage-changed": lambda: speaker(storage() + b"}" + _text("elements") + b"Nsb"),
    "kind-changed": lambda: speaker(b"ctorch\nFloatStorage\n}" + _text("name") + b"Nsb"),
    "marks-popped": lambda: b"\x80\x02(((1110.",
}


def _pickle(path: Path, make: Callable[[], bytes]) -> None:
    path.write_bytes(archive(make()))


INPUTS.add_each(FILE, "pickle", PICKLES, _pickle, FILE)

_GOOD = speaker(tensor())


def _zip(members: list[tuple[str, bytes]], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name
        with zipfile.ZipFile(buffer, "w", **options) as file:
            for name, content in members:
                file.writestr(name, content)
    return buffer.getvalue()


def _patched(mark: bytes, offset: int, value: bytes) -> bytes:
    """A good file with other bytes in the last record that begins with `mark`."""
    content = bytearray(archive(_GOOD))
    start = content.rindex(mark) + offset
    content[start : start + len(value)] = value
    return bytes(content)


def _bad_checksum() -> bytes:
    content = bytearray(archive(_GOOD, {"0": b"\x11" * 768}))
    content[content.index(b"\x11" * 768) + 5] ^= 1
    return bytes(content)


def _bomb() -> bytes:
    return _zip([("archive/data.pkl", _GOOD), ("archive/data/0", bytes(300 << 20))], compression=zipfile.ZIP_DEFLATED)


def _many_members() -> bytes:
    """A list of a million members that lie nowhere, in 50 MB."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    listed = entry * 1_000_000
    first = b"PK\x03\x04" + bytes(26)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 65535, 65535, len(listed), len(first), 0)
    return first + listed + end


def _members_in_one_place() -> bytes:
    """Three hundred members, all of which are the same megabyte."""
    content = archive(_GOOD, {"0": bytes(768), "1": bytes(1 << 20)})
    end = content.rindex(b"PK\x05\x06")
    start = content.index(b"PK\x01\x02")
    last = content[content.rindex(b"PK\x01\x02") : end]
    listed = content[start:end] + b"".join(last.replace(b"/data/1", b"/dat%03d" % n) for n in range(300))
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 304, 304, len(listed), start, 0)
    return content[:start] + listed + tail


ZIPS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "only-a-mark": lambda: b"PK\x03\x04",
    "only-an-end": lambda: b"PK\x05\x06" + bytes(18),
    "old-format": lambda: b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(100),
    "plain-pickle": lambda: pickle.dumps({"anna": {}}),
    "cut": lambda: archive(_GOOD)[:-10],
    "bomb": _bomb,
    "bzip2": lambda: _zip([("archive/data.pkl", _GOOD)], compression=zipfile.ZIP_BZIP2),
    "lzma": lambda: _zip([("archive/data.pkl", _GOOD)], compression=zipfile.ZIP_LZMA),
    "checksum": _bad_checksum,
    "million-members": _many_members,
    "members-in-one-place": _members_in_one_place,
    "two-of-one-name": lambda: _zip([("archive/data.pkl", b"\x80\x02}."), ("archive/data.pkl", _GOOD)]),
    "two-pickles": lambda: _zip([("a/data.pkl", b"\x80\x02}."), ("b/data.pkl", _GOOD)]),
    "no-pickle": lambda: _zip([("archive/data/0", bytes(768))]),
    "pickle-above": lambda: _zip([("../data.pkl", _GOOD), ("/etc/data.pkl", _GOOD)]),
    "pickle-of-9-MB": lambda: archive(b"\x80\x02}" + b"N0" * (9 << 19) + b"."),
    "no-storage": lambda: archive(_GOOD, {}),
    "short-storage": lambda: archive(_GOOD, {"0": bytes(767)}),
    "byteorder-nasty": lambda: archive(_GOOD, order=NASTY.encode() * 10_000),
    "byteorder-binary": lambda: archive(_GOOD, order=b"\xff\xfe"),
    "size-of-4-GB": lambda: _patched(b"PK\x01\x02", 20, b"\xf0\xff\xff\xff\xf0\xff\xff\xff"),
    "size-in-64-bits-not-there": lambda: _patched(b"PK\x01\x02", 20, b"\xff" * 8),
    "place-beyond": lambda: _patched(b"PK\x01\x02", 42, b"\xf0\xff\xff\x7f"),
    "place-of-another": lambda: _patched(b"PK\x01\x02", 42, b"\x05\x00\x00\x00"),
    "encrypted": lambda: _patched(b"PK\x01\x02", 8, b"\x01\x00"),
    "method-99": lambda: _patched(b"PK\x01\x02", 10, b"\x63\x00"),
    "list-beyond": lambda: _patched(b"PK\x05\x06", 16, b"\xff\xff\xff\x7f"),
    "list-of-4-GB": lambda: _patched(b"PK\x05\x06", 12, b"\xff\xff\xff\xff"),
    "97-MB": lambda: archive(_GOOD, {"0": bytes(97 << 20)}),
}


def _whole_file(path: Path, make: Callable[[], bytes]) -> None:
    path.write_bytes(make())


INPUTS.add_each(FILE, "zip", ZIPS, _whole_file, FILE)
