"""Repetition-aware sampling (VALL-E 2), `cosyvoice.utils.common.ras_sampling`, with its random draws as an argument.

A draw is a uniform number u in [0, 1), turned into a token by the inverse of the cumulative distribution over tokens
sorted by falling probability (ties: lower id first). What is written here for arrays is for those of MLX and of NumPy:
a sampler that is called computes in NumPy's float64, so that u decides and not the rounding; `drawing` makes the same a
part of the graph, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.config import SamplingConfig
from mlx_cosyvoice.families.cosyvoice2 import SPEECH_IDS
from mlx_cosyvoice.families.declaration import SpeechIds
from mlx_cosyvoice.llm.uniforms import UniformTape, uniforms

#: How many numbers `_cumulative` adds up one after the other.
ROW = 64

#: An `mx.array` or a NumPy array; whatever is made of it is of the same kind.
Array = Any


class RASSampler:
    """Draws speech tokens: nucleus sampling that avoids what was said a moment ago.

    If the nucleus gives a token that stands in the last `win_size` tokens at least win_size * tau_r times, that token
    is excluded and another one is drawn from the whole distribution, which takes a second u.

    Args:
        config: top_p, top_k, win_size, tau_r.
        uniforms: the draws, one or two of them a token; see `uniforms(seed)`.
        ids: which of the last ids ends the speech.

    Attributes:
        too_often: a token that stands so many times in the window is excluded.

    Raises:
        ValueError: a field of `config` that leaves nothing to draw from.
    """

    def __init__(self, config: SamplingConfig, uniforms: Iterable[float], ids: SpeechIds = SPEECH_IDS) -> None:
        if not config.top_p > 0:
            raise ValueError(f"sampling.top_p is {config.top_p}, must be above 0")
        for name in ("top_k", "win_size"):
            if getattr(config, name) < 1:
                raise ValueError(f"sampling.{name} is {getattr(config, name)}, must be at least 1")
        self.config, self.ids = config, ids
        self.uniforms = uniforms if isinstance(uniforms, UniformTape) else UniformTape(uniforms)
        # a whole number: float32 might round the product to another one
        self.too_often = math.ceil(config.win_size * config.tau_r)

    @classmethod
    def from_key(cls, config: SamplingConfig, key: int | mx.array, ids: SpeechIds = SPEECH_IDS) -> RASSampler:
        """A sampler that draws `uniforms(key)`."""
        return cls(config, uniforms(key), ids)

    def __call__(self, log_probs: mx.array | np.ndarray, decoded: Sequence[int], ignore_eos: bool) -> int:
        """The next token.

        Args:
            log_probs: [V]; the last ids are special, see `SpeechIds`.
            decoded: the tokens so far.
            ignore_eos: whether the end of speech is forbidden. As upstream, the other special ids are not.

        Raises:
            ValueError: the uniforms ran out or lie outside [0, 1), or `log_probs` leave nothing to draw.
        """
        scores = _on_host(log_probs)
        if ignore_eos:
            scores = self.unending(scores)
        with np.errstate(invalid="ignore"):
            token = checked(int(self.first(scores, *self.uniforms.take(1))))
            if decoded[-self.config.win_size :].count(token) >= self.too_often:
                token = checked(int(self.second(scores, token, *self.uniforms.take(1))))
        return token

    def unending(self, scores: Array) -> Array:
        """The scores [V] with the end of speech forbidden."""
        return without(scores, len(scores) - self.ids.count + self.ids.end)

    def candidates(self, logits: mx.array | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nucleus of logits [V]: ids and their probabilities (sum 1), most probable first."""
        ids, probabilities = self.nucleus(_on_host(logits))
        return ids[probabilities > 0], probabilities[probabilities > 0] / probabilities.sum()

    def nucleus(self, scores: Array) -> tuple[Array, Array]:
        """The likeliest ids of scores [V] and their probabilities [top_k], the likeliest first; 0 outside the nucleus.

        All of them are 0 where nothing can be drawn: a score is NaN or infinite, or all are -inf.
        """
        xp = _library(scores)
        ids = _likeliest(scores, min(self.config.top_k, len(scores)))
        top = scores[ids]
        probabilities = xp.exp(top - top[0]) / xp.exp(scores - top[0]).sum()
        before = probabilities.cumsum() - probabilities
        return ids, xp.where(before < self.config.top_p, probabilities, 0)

    def first(self, scores: Array, u: Array) -> Array:
        """The id that u draws from the nucleus of scores [V]; -1 where nothing can be drawn."""
        return _pick(*self.nucleus(scores), u)

    def second(self, scores: Array, token: Array, u: Array) -> Array:
        """The id that u draws from all of scores [V] but `token`; -1 where there is no other."""
        scores = without(scores, token)
        ids = _likeliest(scores, len(scores))
        ranked = scores[ids]
        return _pick(ids, _library(scores).exp(ranked - ranked[0]), u)


def without(scores: Array, token: Array) -> Array:
    """Scores [V] by which `token` cannot be drawn."""
    xp = _library(scores)
    return xp.where(xp.arange(len(scores)) == token, -xp.inf, scores)


def checked(token: int) -> int:
    """A token that was drawn.

    Raises:
        ValueError: it is -1.
    """
    if token < 0:
        raise ValueError("log-probabilities: no token can be drawn, they hold NaN or are all -inf")
    return token


def _library(array: Array) -> Any:
    return mx if isinstance(array, mx.array) else np


def _on_host(logits: mx.array | np.ndarray) -> np.ndarray:
    """A float64 copy."""
    if isinstance(logits, mx.array):
        logits = np.array(logits.astype(mx.float32))
    return logits.astype(np.float64)


def _likeliest(scores: Array, count: int) -> Array:
    """The ids of the `count` highest of scores [V], the highest first, of equal ones the lower id.

    Keys that order as float32 scores do, no two of them equal, need no stable sort, and are sorted as far as needed.
    """
    xp, size = _library(scores), len(scores)
    bits = (scores.astype(xp.float32) + 0).view(xp.int32)  # -0 becomes 0
    rising = xp.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(xp.int64)
    keys = rising * size + (size - 1 - xp.arange(size))
    if count < size:
        keys = xp.partition(keys, size - count)[size - count :]
    return size - 1 - xp.remainder(xp.sort(keys)[::-1], size)


def _pick(ids: Array, weights: Array, u: Array) -> Array:
    """The id on which u falls if [0, 1) is shared out in proportion to `weights` [N]; -1 if all of them are 0."""
    xp, size = _library(weights), len(ids)
    # sums that a device computes side by side may round so that one is lower than that before it
    edges = xp.where(weights > 0, _cumulative(weights), 0)
    place = xp.where(edges > u * edges.max(), xp.arange(size), size).min()
    return xp.concatenate([ids, xp.array([-1])])[place]


def _cumulative(weights: Array) -> Array:
    """The cumulative sum of `weights` [N]; MLX's float32 in rows of `ROW`, which round a tenth as much as one sum."""
    if not isinstance(weights, mx.array):
        return weights.cumsum()
    rows = mx.pad(weights, (0, -len(weights) % ROW)).reshape(-1, ROW)
    sums = mx.cumsum(rows, axis=1)
    before = mx.cumsum(sums[:, -1:], axis=0, inclusive=False)
    return (sums + before).reshape(-1)[: len(weights)]
