"""Reads HyperPyYAML as data: its tags become plain nodes, and nothing is ever imported or called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from converters.errors import ConfigError
from converters.yaml_references import Node, Reference, resolve
from mlx_cosyvoice.quoting import plain, quoted
from mlx_cosyvoice.strict import BadFileError, read_bytes

# The published file has 7 kB, 290 nodes, 6 levels and words of 60 characters.
MAX_BYTES = 100_000
MAX_NODES = 5_000
MAX_DEPTH = 20
MAX_NUMBER = 40


class _Loader(yaml.SafeLoader):
    """YAML as HyperPyYAML reads it: `1e-6` is a number, a key stands once. There are no aliases, hence no bombs."""

    depth = nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise _problem("aliases are not supported", mark)
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _problem(f"has more than {MAX_NODES} values", mark)
        if self.depth == MAX_DEPTH:
            raise _problem(f"is nested too deeply, more than {MAX_DEPTH} levels", mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _problem(what: str, mark: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, what, mark)


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
        if not isinstance(key, (str, int)):
            raise _problem("a key must be a plain word", key_node.start_mark)
        if key in result:
            raise _problem(f"the key {quoted(key)} comes twice", key_node.start_mark)
        result[key] = loader.construct_object(value_node, deep=True)
    return result


def _number(read: Any) -> Any:
    """`read`, of PyYAML, for numbers of a length that it can take: it also knows base 60, without end."""

    def number(loader: _Loader, node: yaml.ScalarNode) -> Any:
        if len(node.value) <= MAX_NUMBER:
            try:
                return read(loader, node)
            except (ValueError, OverflowError):
                pass
        raise _problem(f"{quoted(node.value)} is not a number", node.start_mark)

    return number


def _tagged(tag: str) -> Any:
    return lambda loader, suffix, node: Node(tag, suffix, _arguments(loader, node))


for _tag in ("new", "name", "apply"):
    _Loader.add_multi_constructor(f"!{_tag}:", _tagged(_tag))
_Loader.add_constructor("!ref", lambda loader, node: Reference(loader.construct_scalar(node)))  # type: ignore[arg-type]
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _number(yaml.SafeLoader.construct_yaml_int))
_Loader.add_constructor("tag:yaml.org,2002:float", _number(yaml.SafeLoader.construct_yaml_float))
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
        content = yaml.load(read_bytes(path, MAX_BYTES).decode("utf-8"), _Loader)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except BadFileError as error:
        raise ConfigError(f"{path}: {error}, so it is not a cosyvoice2.yaml") from error
    except yaml.constructor.ConstructorError as error:
        problem = str(error.problem).replace("could not determine a constructor for the tag", "unknown tag")
        raise ConfigError(f"{path}: {plain(problem)}{_line(error)}; it is read as data and never executed") from error
    except yaml.YAMLError as error:
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"{path}: not YAML ({plain(problem)}{_line(error)})") from error
    except ValueError as error:  # not UTF-8, or a date that there is not
        raise ConfigError(f"{path}: not YAML ({plain(str(error))})") from error
    except RecursionError as error:  # the parser, where nothing is counted yet
        raise ConfigError(f"{path}: is nested too deeply") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold keys and values, not {type(content).__name__}")
    return resolve(path, content)


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" in line {mark.line + 1}" if mark else ""
