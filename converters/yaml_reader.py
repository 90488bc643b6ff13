"""Reads HyperPyYAML as data: its tags become plain nodes, and nothing is ever imported or called."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from converters.errors import ConfigError

#: The published file has 7 kB.
MAX_BYTES = 1_000_000

TERM = r"(?:<([^<>]+)>|([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?))"
EXPRESSION = re.compile(rf"\s*{TERM}\s*(?:([-+*/])\s*{TERM}\s*)?")
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


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


class _Loader(yaml.SafeLoader):
    """YAML as HyperPyYAML reads it: `1e-6` is a number, a key stands once. There are no aliases, hence no bombs."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(
                None, None, "aliases are not supported", self.peek_event().start_mark
            )
        return super().compose_node(parent, index)


def _arguments(loader: _Loader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) or None  # type: ignore[arg-type]


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, (str, int, float, bool)):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key_node.start_mark)
        if key in result:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} comes twice", key_node.start_mark)
        result[key] = loader.construct_object(value_node, deep=True)
    return result


def _tagged(tag: str) -> Any:
    return lambda loader, suffix, node: Node(tag, suffix, _arguments(loader, node))


for _tag in ("new", "name", "apply"):
    _Loader.add_multi_constructor(f"!{_tag}:", _tagged(_tag))
_Loader.add_constructor("!ref", lambda loader, node: Reference(loader.construct_scalar(node)))  # type: ignore[arg-type]
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The content of `cosyvoice2.yaml`: plain values and `Node`s, references resolved.

    Raises:
        ConfigError: no such file, not YAML, a tag other than !new, !name, !apply and !ref, or a reference that leads
            nowhere; the message names the file and the line or key.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: has more than {MAX_BYTES} bytes, so it is not a cosyvoice2.yaml")
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except yaml.constructor.ConstructorError as error:
        problem = str(error.problem).replace("could not determine a constructor for the tag", "unknown tag")
        raise ConfigError(f"{path}: {problem}{_line(error)}; it is read as data and never executed") from error
    except yaml.YAMLError as error:
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"{path}: not YAML ({problem}{_line(error)})") from error
    except (UnicodeDecodeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: not YAML ({error})") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested too deeply") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold keys and values, not {type(content).__name__}")
    return _Resolver(path, content).resolve_all()


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" in line {mark.line + 1}" if mark else ""


class _Resolver:
    """Replaces references by what they refer to, each top-level key once."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = path, content
        self.done: dict[str, Any] = {}
        self.open: list[str] = []

    def resolve_all(self) -> dict[str, Any]:
        return {key: self.key(key) for key in self.content}

    def key(self, key: str) -> Any:
        if key not in self.done:
            if key in self.open:
                raise ConfigError(f"{self.path}: !ref <{key}> refers to itself")
            self.open.append(key)
            self.done[key] = self.value(self.content[key])
            self.open.pop()
        return self.done[key]

    def value(self, value: Any) -> Any:
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
            raise ConfigError(
                f"{self.path}: !ref {expression}: only a key, or two keys or numbers with + - * / between, is supported"
            )
        name, number, sign, other_name, other_number = match.groups()
        first = self.term(expression, name, number)
        if sign is None:
            return first
        terms = [first, self.term(expression, other_name, other_number)]
        if any(isinstance(term, bool) or not isinstance(term, (int, float)) for term in terms):
            raise ConfigError(
                f"{self.path}: !ref {expression}: {sign} needs two numbers, not {terms[0]!r}, {terms[1]!r}"
            )
        try:
            return OPERATORS[sign](*terms)
        except ArithmeticError as error:
            raise ConfigError(f"{self.path}: !ref {expression}: {error}") from error

    def term(self, expression: str, name: str | None, number: str | None) -> Any:
        if name is None:
            try:
                return int(number or "") if (number or "").lstrip("+-").isdecimal() else float(number or "")
            except ValueError as error:
                raise ConfigError(f"{self.path}: !ref {expression}: {number!r} is not a number") from error
        if name not in self.content:
            raise ConfigError(f"{self.path}: !ref {expression}: there is no key {name!r}")
        return self.key(name)
