"""What the reference did over a whole utterance, as it is done by a model that computes it piece by piece."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlx_parity.localization.isolate import INPUT, Call, CallsByKey, Feed
from mlx_parity.localization.recordings import Recording
from parity.pieces import Piece, in_pieces


@dataclass(frozen=True)
class Cut:
    """The pieces of an utterance, as `mlx_parity.stage.Pieces`."""

    pieces: tuple[Piece, ...]

    def calls(self, whole: Feed) -> CallsByKey:
        return in_pieces(whole, self.pieces, _cut_call)

    def arrays(self, whole: Mapping[str, np.ndarray]) -> Recording:
        by_key = {}
        for key, array in whole.items():
            path, _, call = key.partition("#")
            by_key[path, int(call or 0)] = array
        cut = Recording()
        for (path, index), array in in_pieces(by_key, self.pieces, lambda array, _, piece: piece.cut(array)).items():
            cut.sink(path, index, array)
        return cut


def _cut_call(call: Call, index: int, piece: Piece) -> Call:
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
