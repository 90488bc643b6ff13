"""What samplers are tried on: log-probabilities, histories and draws of all kinds, the same for both sides.

The tokens of a run say little about a sampler: some fifty draws, each from log-probabilities that differ from the other
side's. Here both sides draw thousands of times from the very same ones, and must draw the same. The draws are spread
evenly over the nucleus, so that every candidate gets its turn, and stand in random order, so that a mistake which shows
in one draw out of a hundred, say, is met whatever its rhythm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from mlx_parity.tape import Tape

#: Speech tokens so few are drawn from twenty times as fast as the real ones, and have room for any nucleus.
SPEECH = 93
ROWS = 640
DRAWS = 25  # for every row; as many as upstream's top_k, so that every candidate of a flat nucleus is drawn

#: Log-probabilities, tokens so far, whether the end of speech is forbidden -> the next token.
Draw = Callable[[np.ndarray, list[int], bool], int]


class Script(Iterator[float]):
    """The uniform numbers of one draw, set before it; a sampler that asks for more of them finds none."""

    def __init__(self) -> None:
        self._left: list[float] = []

    def set(self, uniforms: np.ndarray) -> None:
        self._left = [float(u) for u in uniforms[::-1]]

    def __next__(self) -> float:
        if not self._left:
            raise StopIteration
        return self._left.pop()


@dataclass(frozen=True)
class Trials:
    """N draws from R rows.

    Attributes:
        log_probs: float32 [R, V], the last of V ids being special: from peaked to nearly flat; some with equal entries,
            or a likely end of speech.
        decoded: R lists of tokens so far: none, few or many, with and without the likeliest ones.
        ignore_eos: R flags.
        rows: [N], the row that each draw is from.
        uniforms: float32 [N, 2] in [0, 1): for the nucleus, and for the draw after a repetition.
    """

    log_probs: np.ndarray
    decoded: tuple[list[int], ...]
    ignore_eos: tuple[bool, ...]
    rows: np.ndarray
    uniforms: np.ndarray

    def tokens(self, make: Callable[[Script], Draw]) -> np.ndarray:
        """int64 [N]: what one sampler, made by `make` from its source of uniform numbers, draws in all trials."""
        script = Script()
        sampler = make(script)
        drawn = []
        for row, uniforms in zip(self.rows.tolist(), self.uniforms, strict=True):
            script.set(uniforms)
            drawn.append(int(sampler(self.log_probs[row], self.decoded[row], self.ignore_eos[row])))
        return np.array(drawn, np.int64)


def make_trials(tape: Tape, count: int = ROWS, special: int = 3, end: int = 0) -> Trials:
    """The trials of a tape's seed: `DRAWS` from each of so many rows.

    Of so many special ids, which follow the speech tokens, the one numbered `end` is the end of speech.
    """
    u = tape.uniform("llm/trials/rows", (count, 4))
    logits = tape.normal("llm/trials/logits", (count, SPEECH + special)) * (
        0.2 * 40 ** u[:, :1]
    )  # standard deviation 0.2 to 8
    coarse = u[:, 1] < 0.1
    logits[coarse] = np.round(4 * logits[coarse]) / 4  # as half precision makes them: some are equal
    ends = u[:, 2] < 0.15
    logits[ends, SPEECH + end] = logits[ends].max(axis=1)
    log_probs = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    order = np.argsort(tape.uniform("llm/trials/order", (count * DRAWS,)), kind="stable")
    strata = np.tile(np.arange(DRAWS, dtype=np.float32), count)[order]
    uniforms = tape.uniform("llm/trials/draws", (count * DRAWS, 2))
    uniforms[:, 0] = np.minimum((strata + uniforms[:, 0]) / DRAWS, np.float32(1 - 2**-24))
    return Trials(
        log_probs.astype(np.float32),
        tuple(_history(logits[row], tape.uniform(f"llm/trials/history{row}", (40,)), row) for row in range(count)),
        tuple(bool(flag) for flag in u[:, 3] < 0.5),
        np.repeat(np.arange(count), DRAWS)[order],
        uniforms,
    )


def _history(logits: np.ndarray, u: np.ndarray, row: int) -> list[int]:
    """Nothing, anything, or the likeliest ids: the newest of them far back, within the window, or just before."""
    if row % 4 == 0:
        return []
    if row % 4 == 1:
        return [int(token) for token in (u[: 1 + int(39 * u[0])] * SPEECH).astype(np.int64)]
    likely = np.argsort(-logits, kind="stable")[:20]
    return [int(likely[int(20 * x)]) for x in u[: 1 + int(39 * u[-1])]]
