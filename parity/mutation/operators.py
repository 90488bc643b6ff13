"""The mistakes that are made in code: each operator finds in a syntax tree the places where it can be made."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from parity.mutation.numeric_code import called, is_room, numeric_nodes
from parity.mutation.source import Edit, Source

#: Yields the edits that a mistake can make of one node.
Operator = Callable[[Source, ast.AST], Iterator[Edit | None]]

_ARITHMETIC: dict[type, tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"),
    ast.Pow: ("**", "*"),
}
_COMPARISONS: dict[type, tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
#: Dtype -> the one that somebody may have put there.
_DTYPES = {
    "float32": "float16",
    "float64": "float32",
    "float16": "bfloat16",
    "int64": "int16",
    "int32": "int16",
    "uint32": "int32",
}
#: Functions whose arguments may stand in any order.
_COMMUTATIVE = ("add", "multiply", "maximum", "minimum", "max", "min")
_AXIS_WORDS = ("axis", "axes")
#: What is called with axes by place.
_AXIS_CALLS = ("transpose", "swapaxes", "moveaxis", "squeeze", "expand_dims", "concatenate", "flip", "softmax")
#: Words in the names of what one call leaves for the next.
_STATES = ("cache", "state", "past", "tail", "offset", "context", "held", "position", "phase", "decoded", "start")
#: Keywords that only the harness reads.
_OF_THE_HARNESS = "official_"


def edits(source: Source, name: str) -> list[Edit]:
    """All edits that the operator can make in a file, in order."""
    found = (edit for node in numeric_nodes(source.tree) for edit in OPERATORS[name](source, node))
    return sorted({edit for edit in found if edit}, key=lambda edit: (edit.start, edit.end, edit.text))


def changes(source: Source, edit: Edit) -> bool:
    """Whether the edit compiles and means something else."""
    try:
        return ast.dump(ast.parse(source.edited(edit))) != ast.dump(source.tree)
    except SyntaxError:
        return False


def argument_dropped(source: Source, node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Call) and len(node.args) > 1:
        for place in range(len(node.args)):
            yield _call(source, node, node.args[:place] + node.args[place + 1 :], node.keywords)


def argument_exchanged(source: Source, node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Call) and called(node) not in _COMMUTATIVE:
        for place in range(len(node.args) - 1):
            first, second = node.args[place : place + 2]
            yield _call(source, node, [*node.args[:place], second, first, *node.args[place + 2 :]], node.keywords)


def default_not_passed(source: Source, node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Call):
        for place, keyword in enumerate(node.keywords):
            if not (keyword.arg or "").startswith(_OF_THE_HARNESS) and not is_room(keyword):
                yield _call(source, node, node.args, node.keywords[:place] + node.keywords[place + 1 :])


def _call(source: Source, node: ast.Call, args: list[ast.expr], keywords: list[ast.keyword]) -> Edit:
    named = [
        f"{keyword.arg}={source.text(keyword.value)}" if keyword.arg else f"**{source.text(keyword.value)}"
        for keyword in keywords
    ]
    return source.replaced(node, f"{source.text(node.func)}({', '.join([*map(source.text, args), *named])})")


def arithmetic(source: Source, node: ast.AST) -> Iterator[Edit | None]:
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        yield source.between(node.left, node.right, *_ARITHMETIC[type(node.op)])
    if isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC and isinstance(node.target, ast.expr):
        old, new = _ARITHMETIC[type(node.op)]
        yield source.between(node.target, node.value, f"{old}=", f"{new}=")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield source.replaced(node, source.whole(node.operand))


def comparison(source: Source, node: ast.AST) -> Iterator[Edit | None]:
    if isinstance(node, ast.Compare):
        for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            yield source.between(left, right, *_COMPARISONS[type(op)])


def slice_(source: Source, node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Slice):
        for bound in filter(None, (node.lower, node.upper)):
            number = _number(bound)
            texts = [f"{source.whole(bound)} + 1", f"{source.whole(bound)} - 1"]
            for text in texts if number is None else [str(number + 1), str(number - 1)]:
                yield source.replaced(bound, text)


def off_by_one(role: str, source: Source, node: ast.AST) -> Iterator[Edit]:
    number = _number(node)
    if number is not None and isinstance(node, ast.expr) and _role(source, node) == role:
        changed = [number + 1, number - 1] if isinstance(number, int) else [number * 1.1, number * 0.5]
        yield from (source.replaced(node, repr(other)) for other in changed)


def _number(node: ast.AST) -> int | float | None:
    """The number that a literal is, with its sign."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        positive = _number(node.operand)
        return None if positive is None else -positive
    number: Any = node.value if isinstance(node, ast.Constant) else None
    return number if isinstance(number, (int, float)) and not isinstance(number, bool) else None


def _role(source: Source, node: ast.expr) -> str:
    """What a number is for; "" for the part of one that has a sign."""
    inner: ast.AST = node
    for parent in source.parents(node):
        if isinstance(parent, ast.UnaryOp) and isinstance(parent.op, ast.USub):
            return ""
        if isinstance(parent, ast.Slice):
            return "slice"
        if isinstance(parent, ast.Subscript) and inner is parent.slice:
            return "index"
        if isinstance(parent, ast.keyword):
            return "axis" if parent.arg in _AXIS_WORDS else "constant"
        if isinstance(parent, ast.Call):
            return "axis" if called(parent) in _AXIS_CALLS and inner in parent.args else "constant"
        if not isinstance(parent, (ast.Tuple, ast.List)):
            break
        inner = parent
    return "constant"


def flag(source: Source, node: ast.AST) -> Iterator[Edit | None]:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield source.replaced(node, str(not node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield source.replaced(node, source.whole(node.operand))
    if isinstance(node, ast.BoolOp):
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            yield source.between(left, right, old, new)
    if isinstance(node, ast.IfExp):
        yield source.replaced(
            node, f"({source.text(node.orelse)} if {source.text(node.test)} else {source.text(node.body)})"
        )


def dtype(source: Source, node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in _DTYPES:
        yield source.replaced(node, f"{source.text(node.value)}.{_DTYPES[node.attr]}")


def residual_dropped(source: Source, node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and _number(node.right) is None:
        yield from (source.replaced(node, source.whole(kept)) for kept in (node.left, node.right))


def call_left_out(source: Source, node: ast.AST) -> Iterator[Edit]:
    """f(x) becomes x, and x.f(...) becomes x."""
    if not isinstance(node, ast.Call):
        return
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, (ast.Call, ast.Subscript)):
        yield source.replaced(node, source.whole(node.func.value))
    elif node.args and not isinstance(node.args[0], ast.Starred):
        yield source.replaced(node, source.whole(node.args[0]))


def state_not_handed_on(source: Source, node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Call):
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
            if _is_state(argument):
                yield source.replaced(argument, "None")
    if isinstance(node, (ast.Assign, ast.AugAssign)) and _updates(source, node):
        yield source.replaced(node, "pass")


def _is_state(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return any(word in name for word in _STATES)


def _updates(source: Source, node: ast.Assign | ast.AugAssign) -> bool:
    """Whether a statement changes an attribute, or what a variable was, after the constructor."""
    functions = [one.name for one in source.parents(node) if isinstance(one, ast.FunctionDef)]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    attribute = any(isinstance(target, ast.Attribute) for target in targets)
    return bool(functions) and functions[0] != "__init__" and (attribute or isinstance(node, ast.AugAssign))


#: Name -> operator, in the order in which they are drawn from.
OPERATORS: dict[str, Operator] = {
    "argument-dropped": argument_dropped,
    "argument-exchanged": argument_exchanged,
    "default-not-passed": default_not_passed,
    "arithmetic": arithmetic,
    "comparison": comparison,
    "axis": partial(off_by_one, "axis"),
    "index": partial(off_by_one, "index"),
    "slice": slice_,
    "constant": partial(off_by_one, "constant"),
    "flag": flag,
    "dtype": dtype,
    "residual-dropped": residual_dropped,
    "call-left-out": call_left_out,
    "state-not-handed-on": state_not_handed_on,
}
