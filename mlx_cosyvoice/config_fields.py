"""Fields of the configuration that declare what they may hold, and the one place where files are held to it.

A range keeps out what no network of this kind has, so that nobody allocates, loops or divides by what a file claims.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mlx_cosyvoice.quoting import quoted

T = TypeVar("T")
_RULE = "rule"


class FieldError(ValueError):
    """A value that a field cannot have; the message begins with the field's path, as `llm.qwen.rope_theta`."""


@dataclass(frozen=True)
class Rule:
    """What a field may hold: a number from `low` to `high` or, `depth` levels deep, lists of them.

    Attributes:
        whole: whole numbers only. Others may be written as whole numbers.
        lengths: least and greatest length of each list.
    """

    low: float
    high: float
    whole: bool
    depth: int = 0
    lengths: tuple[int, int] = (1, 1)

    def read(self, value: Any, name: str) -> Any:
        """The value as the field has it: numbers of its type, tuples for lists.

        Raises:
            FieldError: it is not allowed; `name` and value are named.
        """
        return self._read(value, name, self.depth)

    def _read(self, value: Any, name: str, depth: int) -> Any:
        if depth:
            least, most = self.lengths
            if not isinstance(value, (list, tuple)) or not least <= len(value) <= most:
                count = str(least) if least == most else f"{least} to {most}"
                raise FieldError(f"{name}: must be a list of {count} items, not {quoted(value)}")
            return tuple(self._read(item, name, depth - 1) for item in value)
        kinds = (int,) if self.whole else (int, float)
        # NaN fails the comparison too
        if isinstance(value, bool) or not isinstance(value, kinds) or not self.low <= value <= self.high:
            kind = "a whole number" if self.whole else "a number"
            limits = f"at least {self.low:.15g} and at most {self.high:.15g}"
            raise FieldError(f"{name}: must be {kind}, {limits}, not {quoted(value)}")
        return value if self.whole else float(value)


def whole(default: int, low: int, high: int) -> Any:
    """A field that holds a whole number."""
    return dataclasses.field(default=default, metadata={_RULE: Rule(low, high, True)})


def real(default: float, low: float, high: float) -> Any:
    """A field that holds a number."""
    return dataclasses.field(default=default, metadata={_RULE: Rule(low, high, False)})


def wholes(default: tuple, low: int, high: int, lengths: tuple[int, int] = (1, 16), depth: int = 1) -> Any:
    """A field that holds a list of whole numbers, or a list of such lists (`depth` 2)."""
    return dataclasses.field(default=default, metadata={_RULE: Rule(low, high, True, depth, lengths)})


def from_dict(cls: type[T], data: Mapping[str, Any], key: str = "") -> T:
    """Build the frozen dataclass `cls` from nested mappings; keys it does not know are dropped.

    Args:
        cls: every field is another such dataclass, or declared by `whole`, `real` or `wholes`.
        data: by the names of the fields; those left out have their defaults.
        key: where `data` stands in its file, for messages: "llm.qwen".

    Raises:
        FieldError: a value that the field cannot have, named with the path of the field.
    """
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for entry in dataclasses.fields(cls):  # type: ignore[arg-type]
        if entry.name not in data:
            continue
        value, hint = data[entry.name], hints[entry.name]
        name = f"{key}.{entry.name}" if key else entry.name
        if not dataclasses.is_dataclass(hint):
            values[entry.name] = entry.metadata[_RULE].read(value, name)
        elif isinstance(value, Mapping):
            values[entry.name] = from_dict(typing.cast(type, hint), value, name)
        else:
            raise FieldError(f"{name}: must be a mapping, not {quoted(value)}")
    return cls(**values)
