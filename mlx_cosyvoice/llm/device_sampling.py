"""Repetition-aware sampling as a part of the graph, so that the device never waits for the host between two tokens.

The same draws as `RASSampler` makes from the same tape, but in float32 and not in float64. So the two differ only where
rounding decides: where a uniform number or `top_p` lies within about 1e-6 of an edge between two tokens.
"""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.config import SamplingConfig
from mlx_cosyvoice.llm.sampling import SPECIAL_TOKENS, RASSampler, UniformTape, nothing_to_draw
from mlx_cosyvoice.nn.backend import in_cpu_form

#: How many numbers `_cumulative` adds up one after the other.
ROW = 64


def on_device(sampler: object, tokens: int) -> DeviceSampler | None:
    """`sampler` as a part of the graph for at most `tokens` tokens; None where it has to be called on the host.

    In the CPU's form that is every sampler: linear layers are evaluated at once, so there is no queue to keep filled.
    Elsewhere it is all but a plain `RASSampler` that draws from `uniforms(key)`.
    """
    if in_cpu_form() or type(sampler) is not RASSampler or not isinstance(sampler.uniforms, UniformTape):
        return None
    return DeviceSampler(sampler.config, sampler.uniforms, tokens)


class DeviceSampler:
    """Enqueues one draw after the other, and reads them when they are wanted.

    Args:
        config: as for `RASSampler`, which has checked it.
        tape: the draws. Its position moves on when a token is read, so a token that is never read takes none.
        tokens: how many are drawn at most; the numbers for them are computed at once, two a token.
    """

    def __init__(self, config: SamplingConfig, tape: UniformTape, tokens: int) -> None:
        self._config, self._tape, self._start = config, tape, tape.position
        self._uniforms = tape.ahead(2 * tokens)
        self._used = mx.array(0)
        self._recent = mx.full((config.win_size,), -1, dtype=mx.int32)
        # at least win_size * tau_r times, as a whole number: float32 might round the product to another one
        self._too_often = math.ceil(config.win_size * config.tau_r)

    def draw(self, log_probs: mx.array, ignore_eos: bool) -> mx.array:
        """The next token.

        Args:
            log_probs: [V], float32; the last three ids are special, the first of them ends the speech.
            ignore_eos: whether the end of speech is forbidden.

        Returns:
            [2] int32 for `read`, not evaluated; the first is the token.
        """
        scores = log_probs
        if ignore_eos:
            scores = mx.where(mx.arange(len(scores)) == len(scores) - SPECIAL_TOKENS, -mx.inf, scores)
        # stable, so of equal ones the lower id comes first; NaN comes last
        order = mx.argsort(-scores).astype(mx.int32)
        scores = scores[order]
        valid = mx.isfinite(scores[0]) & ~mx.isnan(scores[-1])

        weights = mx.exp(scores - scores[0])
        head = weights[: self._config.top_k]
        inside = mx.cumsum(head, inclusive=False) < self._config.top_p * mx.sum(weights)
        token = order[_place(mx.where(inside, head, 0), self._uniforms[self._used])]

        again = mx.sum(self._recent == token) >= self._too_often
        others = mx.where(order == token, -mx.inf, scores)
        top = mx.max(others)
        other = order[_place(mx.exp(others - top), self._uniforms[self._used + 1])]
        valid = valid & (mx.isfinite(top) | ~again)
        token = mx.where(valid, mx.where(again, other, token), -1)

        self._used = self._used + 1 + again.astype(mx.int32)
        self._recent = mx.concatenate([self._recent[1:], token[None]])
        return mx.stack([token, self._used])

    def read(self, drawn: mx.array) -> int:
        """The token of a draw. Waits for it; nothing else here does.

        Raises:
            ValueError: there was nothing to draw.
        """
        token, used = np.array(drawn)
        if token < 0:
            raise nothing_to_draw()
        self._tape.position = self._start + int(used)
        return int(token)


def _place(weights: mx.array, u: mx.array) -> mx.array:
    """Where u falls if the interval [0, 1) is shared out in proportion to `weights` [N]; never at a weight of 0."""
    # sums that a device computes side by side may round so that one is lower than that before it
    edges = mx.where(weights > 0, _cumulative(weights), 0)
    above = edges > u * mx.max(edges)
    return mx.min(mx.where(above, mx.arange(len(weights)), len(weights)))


def _cumulative(weights: mx.array) -> mx.array:
    """The cumulative sum of `weights` [N] in rows of `ROW`: rounds a tenth as much as one over all of them at once."""
    rows = mx.pad(weights, (0, -len(weights) % ROW)).reshape(-1, ROW)
    sums = mx.cumsum(rows, axis=1)
    before = mx.cumsum(sums[:, -1:], axis=0, inclusive=False)
    return (sums + before).reshape(-1)[: len(weights)]
