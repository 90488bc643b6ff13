"""Parses JSON as RFC 8259 has it, without Python's extensions, and with bounds."""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any

import numpy as np

from mlx_cosyvoice.quoting import quoted
from mlx_cosyvoice.strict.errors import BadFileError
from mlx_cosyvoice.strict.regular import read_bytes

#: Objects and lists within one another. No file that is read here has more than ten.
MAX_DEPTH = 32
#: Numbers, strings, objects and lists in all. The largest tokenizer.json has 460,000.
MAX_VALUES = 1_000_000
#: Digits of an integer: 64 bits have 20.
_MAX_DIGITS = 20

#: Byte -> whether it is a bracket or a comma.
_IS_SIGN = np.isin(np.arange(256), list(b"[]{},"))
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(content: bytes | str) -> Any:
    """The value of a JSON text, of which UTF-8 may begin with a byte order mark.

    Raises:
        BadFileError: it is not UTF-8 or not JSON; too deep or too many values; a key that stands twice in an object; a
            number that is not finite or has too many digits; half a surrogate pair in a string.
    """
    try:
        raw = content.encode() if isinstance(content, str) else content
        text = raw.decode("utf-8-sig")
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise BadFileError(f"not JSON (not UTF-8: {error.reason} at {error.start})") from error
    _check_bounds(raw)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise BadFileError(f"not JSON ({error})") from error
    except BadFileError as error:
        raise BadFileError(f"not JSON as it must be ({error})") from error
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise BadFileError("not JSON (half a surrogate pair in a string)") from error
    return value


def read_json_object(path: str | os.PathLike[str], most: int) -> dict[str, Any]:
    """The object that a JSON file of at most so many bytes holds.

    Raises:
        BadFileError: too large, not JSON (see `parse_json`), or not an object.
        OSError: as `open_regular`.
    """
    content = parse_json(read_bytes(path, most))
    if not isinstance(content, dict):
        raise BadFileError(f"must hold a JSON object, not {type(content).__name__}")
    return content


def _check_bounds(raw: bytes) -> None:
    """Refuse what would take much memory or a deep stack to parse, without parsing it."""
    text = np.frombuffer(raw.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    inside = np.bitwise_xor.accumulate(text == ord('"'))
    signs = text[_IS_SIGN[text] & ~inside]
    opening = (signs == ord("[")) | (signs == ord("{"))
    closing = (signs == ord("]")) | (signs == ord("}"))
    values = len(signs) - int(closing.sum())
    if values > MAX_VALUES:
        raise BadFileError(f"not JSON of a size that is read (about {values} values, at most {MAX_VALUES})")
    depth = np.cumsum(opening.astype(np.int32) - closing)
    if depth.size and depth.max() > MAX_DEPTH:
        raise BadFileError(
            f"not JSON of a depth that is read ({depth.max()} brackets within one another, at most {MAX_DEPTH})"
        )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise BadFileError(f"the key {quoted(twice)} stands twice in an object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise BadFileError(f"an integer of {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise BadFileError(f"the number {quoted(digits)} is out of range")
    return value


def _constant(name: str) -> float:
    raise BadFileError(f"{name}, which is no number of JSON")
