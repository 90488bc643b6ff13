"""What the YAML of a checkpoint may say for the MLX network to compute the same, class by class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.errors import ConfigError
from converters.yaml_references import Node
from mlx_cosyvoice.quoting import plain, quoted


@dataclass(frozen=True)
class Schema:
    """What a node of the YAML may say.

    Attributes:
        target: the official class or function; None for a plain mapping.
        config: the dataclass whose plain fields the node must give.
        elsewhere: fields of `config` that do not stand in this node.
        extra: arguments that the node must have, besides the fields of `config`.
        fixed: argument -> the only supported value; the node must give it.
        default: argument -> the only supported value, which the official code also uses when it is left out.
        ignored: arguments that do not matter at inference.
        children: argument -> its own schema.
        inline: what it says belongs to the node around it.
    """

    target: str | None = None
    config: type | None = None
    elsewhere: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    default: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    children: Mapping[str, Schema] = field(default_factory=dict)
    inline: bool = False

    def plain(self) -> list[str]:
        """Arguments that the node must give, and whose value is taken over."""
        names = [entry.name for entry in dataclasses.fields(self.config)] if self.config else []
        others = {*self.elsewhere, *self.children}
        return [*(name for name in names if name not in others and name not in self.fixed), *self.extra, *self.fixed]

    def known(self) -> set[str]:
        return {*self.plain(), *self.default, *self.ignored, *self.children}


class SchemaReader:
    """Walks the YAML along a schema."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def error(self, key: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.where}: {plain(key)}: {problem}")

    def read(self, schema: Schema, value: Any, key: str) -> dict[str, Any]:
        """The arguments that matter, checked; children are nested dicts.

        Raises:
            ConfigError: a key is missing or unknown, or a value is not supported; file, key and value are named.
        """
        prefix = f"{key}." if key else ""
        arguments = self.arguments(schema, value, key)
        if key:  # the root has keys for training besides
            for name in sorted(arguments.keys() - schema.known(), key=str):
                raise self.error(
                    f"{prefix}{name}", f"unknown, with the value {quoted(arguments[name])}; it may change the network"
                )
        for name in (*schema.plain(), *schema.children):
            if name not in arguments:
                raise self.error(f"{prefix}{name}", "missing")
        for name, expected in {**schema.fixed, **schema.default}.items():
            found = arguments.get(name, expected)
            if found != expected or isinstance(found, bool) != isinstance(expected, bool):
                raise self.error(f"{prefix}{name}", f"{quoted(found)} is not supported, only {expected!r}")
        result = {name: arguments[name] for name in schema.plain()}
        for name, child in schema.children.items():
            inner = self.read(child, arguments[name], f"{prefix}{name}")
            result |= inner if child.inline else {name: inner}
        return result

    def arguments(self, schema: Schema, value: Any, key: str) -> dict[str, Any]:
        target = value.target if isinstance(value, Node) else None
        if target != schema.target:
            found = quoted(target) if isinstance(value, Node) else f"the plain value {quoted(value)}"
            raise self.error(key, f"{found} is not supported, only {schema.target or 'a plain mapping'}")
        content = value.arguments if isinstance(value, Node) else value
        if not isinstance(content, dict):
            raise self.error(key, f"needs named values, not {quoted(content)}")
        return content
