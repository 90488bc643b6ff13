"""How the token loop draws: by a call of the sampler, or in the graph, so that a device never waits for the host."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.llm.sampling import RASSampler, checked
from mlx_cosyvoice.nn.backend import in_cpu_form

#: (log-probabilities [V], tokens so far, whether the end of speech is forbidden) -> token id.
Sampler = Callable[[mx.array, list[int], bool], int]


class Drawing(Protocol):
    """Draws one token after the other.

    Attributes:
        lag: how many tokens may be drawn before one is read.
    """

    lag: int

    def draw(self, log_probs: mx.array, ignore_eos: bool) -> mx.array:
        """The next token from log-probabilities [V]: int32, the first of it is the token; maybe not evaluated yet."""

    def read(self, drawn: mx.array) -> int:
        """The token of a draw, in the order in which they were drawn."""


class Called:
    """Calls a sampler with the tokens so far, `decoded`, and adds its own to them."""

    lag = 0

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.decoded: list[int] = []

    def draw(self, log_probs: mx.array, ignore_eos: bool) -> mx.array:
        self.decoded.append(self._sampler(log_probs, self.decoded, ignore_eos))
        return mx.array(self.decoded[-1:])

    def read(self, drawn: mx.array) -> int:
        return int(np.array(drawn)[0])


class InGraph:
    """Draws as a part of the graph, in float32: a token is read when the step after it is under way already.

    The tokens are those of the sampler where it is called, but where rounding decides: where a uniform number or
    `top_p` lies within about 1e-6 of an edge between two tokens.

    Args:
        sampler: its tape moves on when a token is read, so a token that is never read uses none of it.
        tokens: how many are drawn at most; the uniform numbers for them are there from the start.
    """

    lag = 1

    def __init__(self, sampler: RASSampler, tokens: int) -> None:
        self._sampler, self._read = sampler, 0
        ahead = sampler.uniforms.ahead(2 * tokens)
        self._uniforms = mx.array(ahead + [math.nan] * (2 * tokens - len(ahead)))  # nothing is drawn by NaN
        self._used = mx.array(0)
        self._recent = mx.full((sampler.config.win_size,), -1, dtype=mx.int32)

    def draw(self, log_probs: mx.array, ignore_eos: bool) -> mx.array:
        sampler = self._sampler
        scores = sampler.unending(log_probs) if ignore_eos else log_probs
        first = sampler.first(scores, self._uniforms[self._used])
        again = (mx.sum(self._recent == first) >= sampler.too_often) & (first >= 0)
        token = mx.where(again, sampler.second(scores, first, self._uniforms[self._used + 1]), first)
        self._used = self._used + 1 + again
        self._recent = mx.concatenate([self._recent[1:], token[None]])
        result = mx.stack([token, self._used])
        mx.async_eval(result)
        return result

    def read(self, drawn: mx.array) -> int:
        token, used = map(int, np.array(drawn))
        self._sampler.uniforms.take(used - self._read)
        self._read = used
        return checked(token)


def drawing(sampler: Sampler, tokens: int) -> Drawing:
    """How at most `tokens` tokens are drawn by `sampler`.

    In the CPU's form by calling it: linear layers are evaluated at once, so there is no queue to keep filled. Elsewhere
    in the graph, unless it is anything but a plain `RASSampler`.
    """
    if in_cpu_form() or type(sampler) is not RASSampler:
        return Called(sampler)
    return InGraph(sampler, tokens)
