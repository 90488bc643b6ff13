"""Looks through a pickle before it is read: the unpickler takes memory for whatever numbers it is given."""

from __future__ import annotations

import pickletools
from typing import Any

from mlx_cosyvoice.quoting import quoted
from mlx_cosyvoice.strict import BadFileError

#: Instructions. A speaker takes some three hundred.
MAX_OPCODES = 300_000
#: Tuples within one another. Python's hash of a tuple goes as deep as they do, until its stack overflows.
MAX_TUPLES = 32
#: Bytes of an integer.
_MAX_INTEGER = 16

_INTEGERS = {"INT", "LONG", "LONG1", "LONG4"}
_PUT, _GET = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_MARK = -1


def check_opcodes(content: bytes) -> None:
    """Refuse a pickle that would take much more memory, time or stack to read than it has bytes.

    Raises:
        BadFileError: places in the memo that are too high, too large integers, too many instructions, too many tuples
            within one another, or no pickle.
    """
    machine, count = _Depths(), 0
    try:
        for opcode, argument, _ in pickletools.genops(content):
            count += 1
            if count > MAX_OPCODES:
                raise BadFileError(f"a pickle of more than {MAX_OPCODES} instructions")
            # The unpickler makes room for all places below the one that is named.
            if opcode.name in _PUT and not 0 <= int(argument or 0) <= count:
                raise BadFileError(f"a pickle that keeps something in place {quoted(argument)} of {count}")
            if opcode.name in _INTEGERS and int(argument or 0).bit_length() > 8 * _MAX_INTEGER:
                raise BadFileError(f"a pickle with {quoted(argument)}")
            machine.follow(opcode, argument)
    except BadFileError:
        raise
    except Exception as error:  # the library raises almost anything on bytes that are no pickle
        raise BadFileError(f"damaged, or not written by torch.save ({quoted(str(error), 120)})") from error


class _Depths:
    """The unpickler's stack and memo, of which only is known how many tuples lie within one another."""

    def __init__(self) -> None:
        self.stack: list[int] = []
        self.memo: dict[int, int] = {}

    def follow(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """Do what `opcode` does to the stack and the memo.

        Raises:
            BadFileError: tuples are too deep.
            IndexError: the stack is empty where it must not be.
        """
        name = opcode.name
        if name == "MARK":
            self.stack.append(_MARK)
        elif name in _PUT or name == "MEMOIZE":
            self.memo[len(self.memo) if name == "MEMOIZE" else int(argument)] = self.stack[-1]
        elif name in _GET:
            self.stack.append(self.memo.get(int(argument), 0))
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        else:
            popped = self._pop(opcode)
            depth = 1 + max(popped, default=0) if name in _TUPLES else 0
            if depth > MAX_TUPLES:
                raise BadFileError(f"a pickle with more than {MAX_TUPLES} tuples within one another")
            self.stack.extend([depth] * len(opcode.stack_after))

    def _pop(self, opcode: pickletools.OpcodeInfo) -> list[int]:
        before = list(opcode.stack_before)
        popped = []
        if pickletools.markobject in before:
            while (top := self.stack.pop()) != _MARK:
                popped.append(top)
            before = before[: before.index(pickletools.markobject)]
        return popped + [self.stack.pop() for _ in before]
