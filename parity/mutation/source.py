"""A source file as its syntax tree and its bytes, so that an edit changes nothing but what it means to change."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

_SCOPES = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
#: Expressions that stay whole wherever they are put; others need parentheses.
_ATOMS = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant, ast.Tuple, ast.List)


@dataclass(frozen=True)
class Edit:
    """Bytes `start` to `end` of a file are replaced by `text`."""

    start: int
    end: int
    text: str


class Source:
    """One file of the package.

    Args:
        file: its path from the checkout's root.
        text: what it holds.
    """

    def __init__(self, file: str, text: str) -> None:
        self.file, self._bytes, self.tree = file, text.encode(), ast.parse(text)
        lines = self._bytes.splitlines(keepends=True)
        self._starts = [0, *accumulate(map(len, lines))]
        self._parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    @classmethod
    def read(cls, root: Path, file: str) -> Source:
        return cls(file, (root / file).read_text(encoding="utf-8"))

    def parents(self, node: ast.AST) -> Iterator[ast.AST]:
        """From the innermost to the module."""
        while node in self._parents:
            node = self._parents[node]
            yield node

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        """The bytes of a node, from and to."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.span(node)
        return self._bytes[start:end].decode()

    def whole(self, node: ast.expr) -> str:
        """The text of an expression that may stand in another one."""
        return self.text(node) if isinstance(node, _ATOMS) else f"({self.text(node)})"

    def replaced(self, node: ast.expr | ast.stmt, text: str) -> Edit:
        return Edit(*self.span(node), text)

    def between(self, left: ast.expr, right: ast.expr, old: str, new: str) -> Edit | None:
        """Put `new` for the operator `old` that stands between two expressions."""
        start, end = self.span(left)[1], self.span(right)[0]
        gap = self._bytes[start:end].decode()
        return Edit(start, end, gap.replace(old, new, 1)) if old in gap else None

    def edited(self, edit: Edit) -> str:
        """The file with the edit."""
        return (self._bytes[: edit.start] + edit.text.encode() + self._bytes[edit.end :]).decode()

    def lines(self, edit: Edit) -> tuple[int, int]:
        """From and to, of the innermost statement that holds the edit; of one with a body without that."""
        statement = self._around(edit, ast.stmt)[-1]
        assert isinstance(statement, ast.stmt)
        body = getattr(statement, "body", None)
        end = body[0].lineno if body else (statement.end_lineno or 0) + 1
        return statement.lineno, max(end, statement.lineno + 1)

    def scope(self, edit: Edit) -> tuple[int, int]:
        """From and to, of the innermost function or class around the edit; of the file if there is none."""
        around = self._around(edit, _SCOPES)
        first = min([around[-1].lineno, *(one.lineno for one in around[-1].decorator_list)]) if around else 1
        return first, ((around[-1].end_lineno or 0) if around else len(self._starts)) + 1

    def place(self, edit: Edit) -> str:
        """Qualified name of the class or function that holds the edit; "" at the module's level."""
        return ".".join(node.name for node in self._around(edit, _SCOPES))

    def _around(self, edit: Edit, kinds: Any) -> list[Any]:
        """The nodes of these kinds that hold the edit, the innermost last."""
        spans = {node: self.span(node) for node in ast.walk(self.tree) if isinstance(node, kinds)}
        found = [node for node, (start, end) in spans.items() if start <= edit.start and edit.end <= end]
        return sorted(found, key=lambda node: spans[node][0] - spans[node][1])

    def diff(self, edit: Edit) -> str:
        """In unified form, with a line around it."""
        before, after = self._bytes.decode().splitlines(), self.edited(edit).splitlines()
        lines = difflib.unified_diff(before, after, self.file, self.file, n=1, lineterm="")
        return "\n".join(lines)
