"""The reference's calls over a whole utterance, as the calls of a model that computes it piece by piece.

What goes into a causal module, and what comes out, is for a piece the same as for the whole, cut along time. So no
second reference is needed: its arrays are cut, and whatever judges calls judges those of pieces.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from mlx_parity.localization.isolate import INPUT, Call, CallsByKey, Feed
from mlx_parity.localization.recordings import Recording

T = TypeVar("T")

#: Modules that are called once an utterance, not once a piece: the speaker's, and those of the time of an Euler step.
ONCE = re.compile(
    r"flow\.(spk_embed_affine_layer|decoder\.estimator\."
    r"(time_\w+|\w+_blocks\.\d+\.0\.mlp|(transformer_blocks\.\d+\.attn_norm|norm_out)\.(silu|linear))(\.\w+)*)"
)
#: The embedding is looked up for a piece and its lookahead together ...
TOGETHER = ("flow.input_embedding",)
#: ... and projected for each by itself.
APART = "flow.encoder.embed"
#: Whatever is called at every Euler step, of which there are two: each has a state of its own.
STEPWISE = "flow.decoder.estimator"
STEPS = 2


@dataclass(frozen=True)
class Piece:
    """Tokens `start` to `end` of an utterance of `tokens`, the prompt's included.

    Attributes:
        seen: the token before which its lookahead ends.
        keys: how many tokens attention sees from it, its own included.
    """

    tokens: int
    start: int
    end: int
    seen: int
    keys: int

    @property
    def together(self) -> Piece:
        """With its lookahead."""
        return Piece(self.tokens, self.start, self.seen, self.seen, self.keys)

    @property
    def lookahead(self) -> Piece | None:
        """Its lookahead by itself, if there is any."""
        count = self.seen - self.end
        return Piece(self.tokens, self.end, self.seen, self.seen, count) if count else None

    def cut(self, array: np.ndarray) -> np.ndarray:
        """The part of an array that belongs to the piece: along the axis that is as long as the utterance.

        That is in tokens or frames, with some before or after it for a convolution, or in relative positions, from the
        first key to the piece's own end. Arrays without such an axis stay whole.
        """
        for axis, length in enumerate(array.shape):
            places = self._places(length)
            if places is not None:
                return array[(slice(None),) * axis + (places,)]
        return array

    def _places(self, length: int) -> slice | None:
        own = self.end - self.start
        for rate, margins in ((1, (0, 2, 3)), (2, (0, 4, 30))):
            margin = length - rate * self.tokens
            if margin in margins:
                return slice(rate * self.start, rate * self.end + margin)
            if length == 2 * rate * self.tokens - 1:  # position `tokens` - 1 is the first
                return slice(rate * (self.tokens - self.keys), rate * (self.tokens + own) - 1)
        return None


def pieces_of(tokens: int, chunk: int, lookahead: int, left: int | None) -> tuple[Piece, ...]:
    """An utterance in chunks, each of which sees `left` chunks before it (None: all)."""
    borders = [*range(0, tokens, chunk), tokens]
    seen = tokens if left is None else left * chunk
    return tuple(
        Piece(tokens, start, end, min(end + lookahead, tokens), end - max(start - seen, 0))
        for start, end in pairwise(borders)
    )


def call_before(path: str, index: int) -> int:
    """The index of the same call of a module in the piece before."""
    return index - (STEPS if path.startswith(STEPWISE) else 1)


def in_pieces(
    whole: Mapping[tuple[str, int], T], pieces: Sequence[Piece], cut: Callable[[T, int, Piece], T]
) -> dict[tuple[str, int], T]:
    """What was observed in one run over everything, as it is observed in a run over pieces.

    Args:
        whole: (path, call index) -> what was observed.
        pieces: in order.
        cut: (what was observed, its new call index, the piece) -> what is observed of the piece.
    """
    found: dict[tuple[str, int], T] = {}
    calls, embedded = Counter(path for path, _ in whole), Counter[str]()
    for number, piece in enumerate(pieces):
        for (path, index), item in whole.items():
            if ONCE.fullmatch(path):
                found[path, index] = item
            elif path.startswith(APART):
                for part in filter(None, (piece, piece.lookahead)):
                    found[path, embedded[path]] = cut(item, embedded[path], part)
                    embedded[path] += 1
            else:
                new = number * (STEPS if path.startswith(STEPWISE) else calls[path]) + index
                found[path, new] = cut(item, new, piece.together if path in TOGETHER else piece)
    return found


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
