"""Repetition-aware sampling (VALL-E 2), `cosyvoice.utils.common.ras_sampling`, with its random draws as an argument.

A draw is a uniform number u in [0, 1), turned into a token by the inverse of the cumulative distribution over tokens
sorted by falling probability (ties: lower id first). Here the few thousand numbers are handled on the host in float64,
so that u decides and not the rounding; `device_sampling` does the same as a part of the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.config import SamplingConfig

#: Ids after the speech tokens: end of speech, one without a use, fill.
SPECIAL_TOKENS = 3


class UniformTape(Iterator[float]):
    """Endless draws in [0, 1) from an `mx.random` key, one by one on the host or many at a time on the device.

    Attributes:
        position: how many were taken. Setting it winds the tape.
    """

    _block = 256

    def __init__(self, key: mx.array) -> None:
        self.position = 0
        mx.eval(key)
        self._key = key
        self._blocks: list[mx.array] = []
        self._read: tuple[int, list[float]] = (-1, [])

    def _block_at(self, index: int) -> mx.array:
        while index >= len(self._blocks):
            self._key, key = mx.random.split(self._key)
            block = mx.random.uniform(shape=(self._block,), key=key)
            mx.eval(self._key, block)  # another thread may read on
            self._blocks.append(block)
        return self._blocks[index]

    def __next__(self) -> float:
        index, place = divmod(self.position, self._block)
        if index != self._read[0]:
            self._read = index, self._block_at(index).tolist()  # type: ignore[assignment]
        self.position += 1
        return self._read[1][place]

    def ahead(self, count: int) -> mx.array:
        """The next `count` draws [count], float32, not evaluated. The position stays."""
        first, start = divmod(self.position, self._block)
        last = (self.position + count) // self._block
        blocks = [self._block_at(index) for index in range(first, last + 1)]
        return mx.concatenate(blocks)[start : start + count]


def uniforms(source: int | mx.array) -> UniformTape:
    """An endless tape of draws in [0, 1) from a seed or an `mx.random` key; the same source gives the same tape."""
    return UniformTape(mx.random.key(source) if isinstance(source, int) else source)


def nothing_to_draw() -> ValueError:
    return ValueError("log-probabilities: no token can be drawn, they hold NaN or are all -inf")


def _softmax_sorted(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids and probabilities of the tokens that have any, most probable first."""
    ids = np.argsort(-logits, kind="stable")
    top = logits[ids[0]]
    if not np.isfinite(top) or np.isnan(logits).any():
        raise nothing_to_draw()
    weights = np.exp(logits[ids] - top)
    kept = np.count_nonzero(weights)
    return ids[:kept], weights[:kept] / weights.sum()


class RASSampler:
    """Draws speech tokens: nucleus sampling that avoids what was said a moment ago.

    If the nucleus gives a token that stands in the last `win_size` tokens at least win_size * tau_r times, that token
    is excluded and another one is drawn from the whole distribution, which takes a second u.

    Args:
        config: top_p, top_k, win_size, tau_r.
        uniforms: the draws, one or two of them a token; see `uniforms(seed)`.

    Raises:
        ValueError: a field of `config` that leaves nothing to draw from.
    """

    def __init__(self, config: SamplingConfig, uniforms: Iterable[float]) -> None:
        if not config.top_p > 0:
            raise ValueError(f"sampling.top_p is {config.top_p}, must be above 0")
        for name in ("top_k", "win_size"):
            if getattr(config, name) < 1:
                raise ValueError(f"sampling.{name} is {getattr(config, name)}, must be at least 1")
        self.config = config
        self.uniforms = iter(uniforms)

    @classmethod
    def from_key(cls, config: SamplingConfig, key: int | mx.array) -> RASSampler:
        """A sampler that draws `uniforms(key)`."""
        return cls(config, uniforms(key))

    def candidates(self, logits: mx.array | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nucleus of logits [V]: ids and their probabilities (sum 1), most probable first."""
        ids, probs = _softmax_sorted(_on_host(logits))
        before = np.cumsum(probs) - probs
        count = min(int(np.count_nonzero(before < self.config.top_p)), self.config.top_k)
        return ids[:count], probs[:count] / probs[:count].sum()

    def __call__(self, log_probs: mx.array | np.ndarray, decoded: list[int], ignore_eos: bool) -> int:
        """The next token.

        Args:
            log_probs: [V]; the last three ids are special, the first of them ends the speech.
            decoded: the tokens so far.
            ignore_eos: whether the end of speech is forbidden. As upstream, the other special ids are not.

        Raises:
            ValueError: the uniforms ran out or lie outside [0, 1), or `log_probs` leave nothing to draw.
        """
        scores = _on_host(log_probs)
        if ignore_eos:
            scores[-SPECIAL_TOKENS] = -np.inf
        token = self._draw(*self.candidates(scores))
        if decoded[-self.config.win_size :].count(token) >= self.config.win_size * self.config.tau_r:
            scores[token] = -np.inf
            token = self._draw(*_softmax_sorted(scores))
        return token

    def _draw(self, ids: np.ndarray, probs: np.ndarray) -> int:
        u = next(self.uniforms, None)
        if u is None:
            raise ValueError("uniforms ran out: give an endless iterator, such as uniforms(seed)")
        if not 0 <= u < 1:
            raise ValueError(f"uniforms gave {u}, must lie in [0, 1)")
        cumulative = np.cumsum(probs)
        index = int(np.searchsorted(cumulative, u * cumulative[-1], side="right"))
        return int(ids[min(index, len(ids) - 1)])


def _on_host(logits: mx.array | np.ndarray) -> np.ndarray:
    """A float64 copy."""
    if isinstance(logits, mx.array):
        logits = np.array(logits.astype(mx.float32))
    return logits.astype(np.float64)
