"""Resolves the `!ref` of HyperPyYAML: names of top-level keys, and a little arithmetic on them."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import ConfigError
from mlx_cosyvoice.quoting import plain, quoted

TERM = r"(?:<([^<>]+)>|([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?))"
EXPRESSION = re.compile(rf"\s*{TERM}\s*(?:([-+*/])\s*{TERM}\s*)?")
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}

#: References that lead from one to the next.
MAX_CHAIN = 8
#: Values of a key with all that it refers to. The whole published file has 500.
MAX_VALUES = 20_000
#: No size of a network comes near, and products of products would grow without end.
MAX_RESULT = 1e15


@dataclass(frozen=True)
class Node:
    """What `!new:`, `!name:` and `!apply:` stand for in the official loader: an object, a function, a call."""

    tag: str
    target: str
    arguments: Any


@dataclass(frozen=True)
class Reference:
    """`!ref` and the text behind it, not resolved yet."""

    expression: str


def resolve(path: Path, content: dict[Any, Any]) -> dict[Any, Any]:
    """`content` with what its references refer to in their place.

    Raises:
        ConfigError: a reference that leads nowhere, to itself, or over too many others; an expression that cannot be
            computed; or more values than any such file has. `path` and the reference are named.
    """
    resolver = _Resolver(path, content)
    return {key: resolver.key(key) for key in content}


class _Resolver:
    """Resolves each top-level key once, and counts its values as often as they are referred to."""

    def __init__(self, path: Path, content: dict[Any, Any]) -> None:
        self.path, self.content = path, content
        self.done: dict[Any, Any] = {}
        self.sizes: dict[Any, int] = {}
        self.open: list[Any] = []
        self.count = 0

    def error(self, expression: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.path}: !ref {plain(expression)}: {problem}")

    def key(self, key: Any) -> Any:
        if key not in self.done:
            if key in self.open:
                raise self.error(f"<{key}>", "refers to itself")
            if len(self.open) == MAX_CHAIN:
                raise self.error(f"<{key}>", f"is the end of a chain of more than {MAX_CHAIN} references")
            self.open.append(key)
            outer, self.count = self.count, 0
            self.done[key] = self.value(self.content[key])
            self.sizes[key], self.count = self.count, outer
            self.open.pop()
        self._count(key, self.sizes[key])
        return self.done[key]

    def _count(self, key: Any, values: int) -> None:
        self.count += values
        if self.count > MAX_VALUES:
            raise ConfigError(f"{self.path}: {quoted(key)}: stands for more than {MAX_VALUES} values")

    def value(self, value: Any) -> Any:
        self._count(self.open[-1], 1)
        if isinstance(value, Reference):
            return self.reference(value.expression)
        if isinstance(value, Node):
            return Node(value.tag, value.target, self.value(value.arguments))
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return value

    def reference(self, expression: str) -> Any:
        match = EXPRESSION.fullmatch(expression)
        if match is None:
            raise self.error(expression, "only a key, or two keys or numbers with + - * / between, is supported")
        name, number, sign, other_name, other_number = match.groups()
        first = self.term(expression, name, number)
        if sign is None:
            return first
        terms = [first, self.term(expression, other_name, other_number)]
        if any(isinstance(term, bool) or not isinstance(term, (int, float)) for term in terms):
            raise self.error(expression, f"{sign} needs two numbers, not {quoted(terms[0])}, {quoted(terms[1])}")
        try:
            result = OPERATORS[sign](*terms)
        except ArithmeticError as error:
            raise self.error(expression, str(error)) from error
        if not abs(result) <= MAX_RESULT:  # NaN is not either
            raise self.error(expression, "the result is too large")
        return result

    def term(self, expression: str, name: str | None, number: str | None) -> Any:
        if name is None:
            try:
                return int(number or "") if (number or "").lstrip("+-").isdecimal() else float(number or "")
            except ValueError as error:
                raise self.error(expression, f"{quoted(number)} is not a number") from error
        if name not in self.content:
            raise self.error(expression, f"there is no key {quoted(name)}")
        return self.key(name)
