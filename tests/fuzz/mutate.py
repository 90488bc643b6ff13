"""Changes valid files a little, in the ways in which parsers break."""

from __future__ import annotations

import re
from random import Random

#: What stands in hostile files of some format or other.
TOKENS = (
    b"", b"\x00", b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80", b"-1", b"0", b"1e400", b"NaN",
    b".nan", b".inf", b"null", b"true", b"[]", b"{}", b"[", b"}", b'"', b"9" * 60, b"0.5", b"\n", b"\t", b": ",
    b"- ", b"!ref <flow>", b"!new:a.B", b"!!python/name:os.system", b"&a [*a]", b"\\ud800", b"\xed\xa0\x80", b"\x1b[2J",
    b"PK\x03\x04", b"PK\x05\x06", b"r\xff\xff\xff\xff", b"(", b"t", b"R", b"cos\nsystem\n", b"Q", b"s", b"u", b"\x86",
)  # fmt: skip

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def mutated(content: bytes, random: Random, rounds: int = 3) -> bytes:
    """`content` with one to `rounds` changes."""
    data = bytearray(content)
    for _ in range(random.randint(1, rounds)):
        _CHANGES[random.randrange(len(_CHANGES))](data, random)
    return bytes(data)


def _at(data: bytearray, random: Random) -> int:
    # Headers stand at the beginning or at the end.
    size = len(data)
    return max(
        0, min(size, random.choice((random.randint(0, size), random.randint(0, 200), size - random.randint(0, 200))))
    )


def _flip(data: bytearray, random: Random) -> None:
    if data:
        data[min(_at(data, random), len(data) - 1)] ^= 1 << random.randrange(8)


def _byte(data: bytearray, random: Random) -> None:
    if data:
        data[min(_at(data, random), len(data) - 1)] = random.choice((0, 1, 127, 128, 255, random.randrange(256)))


def _cut(data: bytearray, random: Random) -> None:
    del data[_at(data, random) :]


def _remove(data: bytearray, random: Random) -> None:
    start = _at(data, random)
    del data[start : start + random.randint(1, 40)]


def _insert(data: bytearray, random: Random) -> None:
    start = _at(data, random)
    data[start:start] = random.choice(TOKENS)


def _overwrite(data: bytearray, random: Random) -> None:
    start, token = _at(data, random), random.choice(TOKENS)
    data[start : start + len(token)] = token


def _repeat(data: bytearray, random: Random) -> None:
    start = _at(data, random)
    piece = data[start : start + random.randint(1, 60)]
    data[start:start] = piece * random.choice((1, 1, 2, 300))


def _move(data: bytearray, random: Random) -> None:
    start, to = _at(data, random), _at(data, random)
    length = random.randint(1, 60)
    data[to : to + length] = data[start : start + length]


def _number(data: bytearray, random: Random) -> None:
    """Another number in the place of one that is written out."""
    found = [match.span() for match in _NUMBER.finditer(data)]
    if found:
        start, end = random.choice(found)
        data[start:end] = random.choice((b"0", b"-1", b"1e9", b"1e-9", b"9" * 12, b"9" * 5000, b"[1]", b"NaN", b'"x"'))


_CHANGES = (_flip, _byte, _cut, _remove, _insert, _overwrite, _repeat, _move, _number)
