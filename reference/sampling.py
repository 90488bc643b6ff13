"""Repetition-aware sampling (VALL-E 2), `cosyvoice.utils.common.ras_sampling`, with its random draws as an argument.

A draw is a uniform number u in [0, 1), turned into a token by the inverse of the cumulative distribution over tokens
sorted by falling probability (ties: lower id first). All of it in float64, so that u decides and not the rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def uniforms(seed: int) -> Iterator[float]:
    """An endless tape of draws in [0, 1)."""
    generator = np.random.Generator(np.random.Philox(seed))
    while True:
        yield generator.random()


def candidates(logits: Tensor, top_p: float = 0.8, top_k: int = 25) -> tuple[Tensor, Tensor]:
    """The nucleus of logits [V]: ids and their probabilities (sum 1), most probable first.

    A token belongs to it while the more probable ones sum to less than `top_p` and are fewer than `top_k`.
    """
    probs, ids = logits.double().softmax(0).sort(descending=True, stable=True)
    before = probs.cumsum(0) - probs
    count = min(int((before < top_p).sum()), top_k)
    return ids[:count], probs[:count] / probs[:count].sum()


class RASSampler:
    """Call with log-probabilities [V], the tokens so far and whether the end of speech is forbidden.

    Nucleus first; if its token already stands in the last `win_size` tokens (at least win_size * tau_r times), that
    token is excluded and another is drawn from the whole distribution. That takes a second u.

    Args:
        config: `top_p`, `top_k`, `win_size`, `tau_r`.
        uniforms: the draws, one or two of them a token.
        forbidden: the id of the end of speech, or what upstream takes for it (`SpeechLM.upstream_forbids`); below 0
            from V on, as which it is CosyVoice2's.
    """

    def __init__(self, config: Mapping[str, Any], uniforms: Iterable[float], forbidden: int = -3) -> None:
        self.top_p, self.top_k = config["top_p"], config["top_k"]
        self.win_size, self.tau_r = config["win_size"], config["tau_r"]
        self.forbidden = forbidden
        self._uniforms = iter(uniforms)

    def candidates(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """`candidates` with this sampler's settings."""
        return candidates(logits, self.top_p, self.top_k)

    def _draw(self, ids: Tensor, probs: Tensor) -> int:
        u = next(self._uniforms, None)
        if u is None:
            raise ValueError("uniforms ran out: give an endless iterator, such as uniforms(seed)")
        ids, probs = ids[probs > 0], probs[probs > 0]
        if not len(ids):
            raise ValueError("log-probabilities: no token is left to draw (all are -inf or NaN)")
        cumulative = probs.cumsum(0)
        index = int(torch.searchsorted(cumulative, u * cumulative[-1], right=True))
        return int(ids[min(index, len(ids) - 1)])

    def __call__(self, log_probs: Tensor, decoded: list[int], ignore_eos: bool) -> int:
        log_probs = log_probs.double().clone()
        if ignore_eos:
            log_probs[self.forbidden] = -torch.inf
        token = self._draw(*self.candidates(log_probs))
        if decoded[-self.win_size :].count(token) >= self.win_size * self.tau_r:
            log_probs[token] = -torch.inf
            probs, ids = log_probs.softmax(0).sort(descending=True, stable=True)
            token = self._draw(ids, probs)
        return token
