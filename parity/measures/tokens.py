"""The first token on which two sides part, and whether that was a near tie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Flip:
    """The first difference of two token sequences.

    `actual` or `expected` is None where that sequence ended. `logit_margin` is by how much the reference prefers its
    own token, in nats (negative where sampling picked a less likely one); NaN when a side had ended.
    """

    step: int
    actual: int | None
    expected: int | None
    logit_margin: float
    near_tie: bool


def first_flip(
    actual: np.ndarray,
    expected: np.ndarray,
    *,
    log_probs: np.ndarray | None = None,
    near_ties: np.ndarray | None = None,
) -> Flip | None:
    """Find where two sequences part.

    Args:
        actual: token ids, any shape, read in order.
        expected: the reference's.
        log_probs: [..., steps, vocabulary], the reference's; without them `logit_margin` is NaN.
        near_ties: as many flags as `expected` has tokens: where rounding decides. Without them it does nowhere.

    Returns:
        The flip, or None for equal sequences. Where one of them has ended is never a near tie.
    """
    a, b = np.asarray(actual).reshape(-1), np.asarray(expected).reshape(-1)
    common = min(a.size, b.size)
    different = np.flatnonzero(a[:common] != b[:common])
    if not different.size and a.size == b.size:
        return None
    step = int(different[0]) if different.size else common
    mine, theirs = (int(side[step]) if step < side.size else None for side in (a, b))
    both = mine is not None and theirs is not None
    logit_margin = math.nan
    if log_probs is not None and mine is not None and theirs is not None:
        row = np.asarray(log_probs, np.float64).reshape(-1, np.shape(log_probs)[-1])[step]
        logit_margin = float(row[theirs] - row[mine])
    near_tie = both and near_ties is not None and bool(np.asarray(near_ties).reshape(-1)[step])
    return Flip(step, mine, theirs, logit_margin, near_tie)
