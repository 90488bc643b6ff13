"""The first token on which two sides part, and whether that was a near tie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Flip:
    """The first difference of two token sequences.

    `actual` or `expected` is None where that sequence ended. `logit_margin` is by how much the reference prefers its
    own token, in nats (negative where sampling picked a less likely one); NaN when a side had ended. `margin` is how
    far the decision was from tipping over, in the unit of the caller's margins.
    """

    step: int
    actual: int | None
    expected: int | None
    logit_margin: float
    margin: float
    near_tie: bool


def first_flip(
    actual: np.ndarray,
    expected: np.ndarray,
    *,
    log_probs: np.ndarray | None = None,
    margins: np.ndarray | None = None,
    tie: float = 0.0,
) -> Flip | None:
    """Find where two sequences part.

    Args:
        actual: token ids, any shape, read in order.
        expected: the reference's.
        log_probs: [..., steps, vocabulary], the reference's; without them `logit_margin` is NaN.
        margins: as many as `expected`, how far each decision was from tipping over. Without them there are no ties.
        tie: a margin of at most this is a near tie.

    Returns:
        The flip, or None for equal sequences. Something not finite is never a near tie.
    """
    a, b = np.asarray(actual).reshape(-1), np.asarray(expected).reshape(-1)
    common = min(a.size, b.size)
    different = np.flatnonzero(a[:common] != b[:common])
    if not different.size and a.size == b.size:
        return None
    step = int(different[0]) if different.size else common
    mine, theirs = (int(side[step]) if step < side.size else None for side in (a, b))
    logit_margin = math.nan
    if log_probs is not None and mine is not None and theirs is not None:
        row = np.asarray(log_probs, np.float64).reshape(-1, np.shape(log_probs)[-1])[step]
        logit_margin = float(row[theirs] - row[mine])
    margin = math.inf
    if margins is not None and step < np.size(margins):
        margin = float(np.asarray(margins, np.float64).reshape(-1)[step])
    both = mine is not None and theirs is not None
    near_tie = bool(both and margins is not None and math.isfinite(margin) and math.isfinite(tie) and margin <= tie)
    return Flip(step, mine, theirs, logit_margin, margin, near_tie)
