"""A call over a whole utterance, as it is made of a piece."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from parity.localization.isolate import INPUT, Call
from parity.pieces import Piece


def cut_call(call: Call, index: int, piece: Piece) -> Call:
    """The call that is made of the piece.

    It has no mask, as a piece sees all that its cache holds; and where the whole has no lookahead, a piece has the next
    tokens.
    """
    arguments = {name: _cut(value, piece) for name, value in call.arguments.items() if name != "mask"}
    if "context" in arguments:
        ahead = piece.lookahead
        arguments["context"] = None if ahead is None else ahead.cut(call.arguments[INPUT])
    return replace(call, index=index, arguments=arguments, output=_cut(call.output, piece))


def _cut(value: Any, piece: Piece) -> Any:
    if isinstance(value, tuple):
        return tuple(_cut(item, piece) for item in value)
    return piece.cut(value) if isinstance(value, np.ndarray) else value
