"""Texts that are no JSON, or JSON that would take memory or stack to parse."""

from __future__ import annotations

_DEEP = b"[" * 100_000 + b"]" * 100_000

BROKEN: dict[str, bytes] = {
    "empty": b"",
    "list": b"[1]",
    "null": b"null",
    "number": b"1",
    "cut": b'{"a": ',
    "rest": b'{"a": 1} {"b": 2}',
    "python": b"{'a': True}",
    "deep": b'{"a": ' + _DEEP + b"}",
    "deep-objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "open-brackets": b"[" * 5_000_000,
    "quotes": b'"' * 5_000_001,
    "backslashes": b'{"' + b"\\" * 5_000_001,
    "escaped-quotes": b'"' + b'\\"' * 3_000_000,
    "twice": b'{"a": 1, "a": 2}',
    "nan": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "overflow": b'{"a": 1e400}',
    "digits": b'{"a": ' + b"9" * 5000 + b"}",
    "million-digits": b'{"a": ' + b"9" * 1_000_000 + b"}",
    "half-a-character": b'{"a": "\\ud800"}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "binary": bytes(range(256)),
    "nul": b'{"a": "\x00"}',
    "nuls": bytes(100_000),
    "millions-of-quotes": b'"' * (23 << 20),
    "too-large": b'{"a": "' + b"x" * (40 << 20) + b'"}',
    "many-lists": b"[" + b"[]," * 1_500_000 + b"[]]",
    "many-keys": b'{"a": {' + b",".join(b'"%d":0' % n for n in range(600_000)) + b"}}",
}
