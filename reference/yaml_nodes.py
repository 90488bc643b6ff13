"""Looks values up in HyperPyYAML by PyYAML's nodes: no tag is ever constructed."""

from __future__ import annotations

import ast
import operator
import re
from pathlib import Path
from typing import Any

import yaml

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class YamlNodes:
    """A YAML file; `nodes("flow.decoder.in_channels")` is a value of it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not YAML.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._root: Any = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: not YAML ({' '.join(str(error).split())})") from error

    def __call__(self, path: str) -> Any:
        """The value at a path: a number, a text, a truth value, None or a list of these.

        Raises:
            KeyError: there is none.
            ValueError: what a `!ref` says cannot be computed.
        """
        return self._value(self._node(path))

    def plain(self, path: str) -> dict[str, Any]:
        """What stands in the mapping at a path, by name, but for what a tag would make. Raises as a call."""
        found: dict[str, Any] = {}
        for name, child in self._followed(self._node(path)).value:
            node = self._followed(child)
            if not isinstance(node, yaml.MappingNode):
                found[name.value] = self._value(child)
            elif node.tag == yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG:
                found[name.value] = self.plain(f"{path}.{name.value}")
        return found

    def _node(self, path: str) -> Any:
        node = self._root
        for key in path.split("."):
            node = self._followed(node)
            children = {name.value: child for name, child in node.value} if isinstance(node, yaml.MappingNode) else {}
            node = children[key]
        return node

    def _followed(self, node: Any) -> Any:
        name = re.fullmatch(r"\s*<([^<>]+)>\s*", node.value) if node.tag == "!ref" else None
        return self._followed(self._node(name[1])) if name else node

    def _value(self, node: Any) -> Any:
        node = self._followed(node)
        if node.tag == "!ref":
            terms = re.sub(r"<([^<>]+)>", lambda name: repr(self(name[1])), node.value)
            return self._computed(ast.parse(terms.strip(), mode="eval").body)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item) for item in node.value]
        return node.value if node.style else _plain(node.value)

    def _computed(self, term: ast.expr) -> Any:
        if isinstance(term, ast.BinOp) and type(term.op) in OPERATORS:
            return OPERATORS[type(term.op)](self._computed(term.left), self._computed(term.right))  # type: ignore[index]
        return ast.literal_eval(term)


def _plain(text: str) -> Any:
    """A word without quotes. `1e-6` is a number, as for HyperPyYAML."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text
