"""Reads a pickle that holds data, without unpickling: what it asks to be called is only reported to the caller.

The opcodes are interpreted here, those that containers, strings, numbers and the tensors of `torch.save` need. Nothing
is imported, no method of anything is looked up, and a memo is a dict, whatever index a pickle names.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mlx_cosyvoice.quoting import plain, quoted
from mlx_cosyvoice.strict.errors import BadFileError

_PROTOCOLS = 5
_MAX_BITS = 256

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"}
_STRINGS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "SHORT_BINSTRING"}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


@dataclass(frozen=True)
class Name:
    """A class or function that the pickle names. It is not looked for."""

    module: str
    name: str

    def __str__(self) -> str:
        return quoted(f"{self.module}.{self.name}")


class ForeignObjectError(BadFileError):
    """The pickle holds something else than data."""


def read_pickle(content: bytes, call: Callable[[Name, tuple], Any], persistent: Callable[[Any], Any], most: int) -> Any:
    """The object that a pickle stands for.

    Args:
        content: the pickle, of a protocol from 2 on.
        call: gives what a call of a named thing stands for; raises ForeignObjectError for what is not data.
        persistent: gives what an object outside of the pickle stands for.
        most: instructions that it may have.

    Raises:
        ForeignObjectError: it asks for something that is no data.
        BadFileError: it is damaged, too long, or has a key that comes twice or is no plain value.
    """
    machine = _Machine(call, persistent)
    for opcode, argument in _opcodes(content, most):
        if opcode == "STOP":
            return machine.result()
        try:
            machine.step(opcode, argument)
        except IndexError as error:
            raise BadFileError(f"damaged, its pickle: nothing is there for {opcode}") from error
    raise BadFileError("damaged, its pickle does not end")


def _opcodes(content: bytes, most: int) -> Iterator[tuple[str, Any]]:
    opcodes = pickletools.genops(content)
    # No number is believed that says more than there is; memos are numbered from 0 on.
    bounds = {"PROTO": _PROTOCOLS, "FRAME": len(content), "BINPUT": len(content), "LONG_BINPUT": len(content)}
    for _ in range(most):
        try:
            opcode, argument, _ = next(opcodes)
        except StopIteration:
            return
        except (ValueError, OverflowError) as error:  # unknown, cut off, or not UTF-8
            raise BadFileError(f"damaged, its pickle: {plain(str(error), 120)}") from error
        if opcode.name in bounds and int(argument or 0) > bounds[opcode.name]:
            raise BadFileError(f"damaged, its pickle: {opcode.name} of {argument}")
        yield opcode.name, argument
    raise BadFileError(f"its pickle has more than {most} opcodes")


class _Machine:
    """The stack and the memo."""

    def __init__(self, call: Callable[[Name, tuple], Any], persistent: Callable[[Any], Any]) -> None:
        self.call, self.persistent = call, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def result(self) -> Any:
        if len(self.stack) != 1:
            raise BadFileError("damaged, its pickle does not leave one object")
        self.top(object)
        return self.stack[0]

    def step(self, opcode: str, argument: Any) -> None:
        """Raises IndexError where the stack is too short."""
        stack = self.stack
        if opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode in _NUMBERS:
            if isinstance(argument, int) and argument.bit_length() > _MAX_BITS:
                raise BadFileError(f"its pickle holds {quoted(argument)}")
            stack.append(argument)
        elif opcode in _STRINGS:
            stack.append(argument)
        elif opcode in _EMPTY:
            stack.append(_EMPTY[opcode]())
        elif opcode in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if opcode == "MEMOIZE" else argument] = stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            if argument not in self.memo:
                raise BadFileError(f"damaged, its pickle: there is no memo {argument}")
            stack.append(self.memo[argument])
        elif opcode in _SHORT_TUPLES:
            count = _SHORT_TUPLES[opcode]
            stack.append(tuple([self.pop() for _ in range(count)][::-1]))
        elif opcode not in ("PROTO", "FRAME"):
            self.compound(opcode, argument)

    def compound(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:
            case "MARK":
                stack.append(_MARK)
            case "TUPLE":
                stack.append(tuple(self.items()))
            case "APPEND" | "APPENDS":
                items = self.items() if opcode == "APPENDS" else [self.pop()]
                self.top(list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self.items() if opcode == "SETITEMS" else [self.pop(), self.pop()][::-1]
                _set(self.top(dict), items)
            case "GLOBAL":
                stack.append(Name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = self.pop(), self.pop()
                if not isinstance(name, str) or not isinstance(module, str):
                    raise BadFileError("damaged, its pickle: a name that is no text")
                stack.append(Name(module, name))
            case "REDUCE":
                arguments, function = self.pop(), self.pop()
                if not isinstance(function, Name) or not isinstance(arguments, tuple):
                    raise BadFileError("damaged, its pickle: a call of something without a name")
                stack.append(self.call(function, arguments))
            case "BUILD":  # attributes of a dict, such as the versions of modules in a state dict
                self.pop()
                self.top(dict)
            case "BINPERSID":
                stack.append(self.persistent(self.pop()))
            case _:
                named = [value for value in stack if isinstance(value, Name)]
                raise ForeignObjectError(f"holds {named[-1]}" if named else f"holds no mere data (opcode {opcode})")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise IndexError
        return value

    def items(self) -> list[Any]:
        """What lies above the last mark."""
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is _MARK:
                items = self.stack[position + 1 :]
                del self.stack[position:]
                return items
        raise IndexError

    def top(self, kind: type) -> Any:
        if isinstance(self.stack[-1], Name):
            raise ForeignObjectError(f"holds {self.stack[-1]}")
        if not isinstance(self.stack[-1], kind):
            raise BadFileError(f"damaged, its pickle: a {kind.__name__} was to be filled that is none")
        return self.stack[-1]


def _set(target: dict[Any, Any], items: list[Any]) -> None:
    if len(items) % 2:
        raise BadFileError("damaged, its pickle: a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # The hash of nested tuples would be computed again for each place where one stands.
        if not isinstance(key, (str, bytes, int, float, bool, type(None))):
            raise BadFileError(f"has a key that is {quoted(key)}, not text or a number")
        if key in target:
            raise BadFileError(f"has the key {quoted(key)} twice")
        target[key] = value
