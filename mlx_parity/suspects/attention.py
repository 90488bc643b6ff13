"""Attention in float64 under a hypothesis of how it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mlx_parity.suspects.relations import root_mean_square_norm

Array = np.ndarray


@dataclass(frozen=True)
class Attention:
    """One way of doing it.

    Attributes:
        queries, keys, values: the arrays it starts from, by name.
        head: numbers of a head.
        rotary: how queries and keys are rotated: "halves", "pairs", or "" for not at all.
        part: how many numbers of each head are.
        base: of the frequencies.
        scale: of the scores.
        cap: softcap of the scores; 0: none.
        window: how many positions are seen, the own one included; 0: all.
        ahead: how many positions after its own a query sees; None: all.
        norm: where queries and keys pass an RMS norm without weights: "before" or "after" the rotation, or "".
        eps: of that norm.
        tiled: whether query heads share keys in turn instead of in groups.
    """

    queries: str
    keys: str
    values: str
    head: int
    rotary: str = ""
    part: int = 0
    base: float = 10000.0
    scale: float = 1.0
    cap: float = 0.0
    window: int = 0
    ahead: int | None = 0
    norm: str = ""
    eps: float = 1e-6
    tiled: bool = False

    def __call__(self, sources: Mapping[str, Array], rows: int | None = None) -> Array:
        """What goes into the output projection: [batch, time, heads * head]; of the first `rows` positions alone."""
        queries, keys, values = (
            _in_heads(sources[name], self.head)[:, :rows] for name in (self.queries, self.keys, self.values)
        )
        queries, keys = self._prepared(queries), self._prepared(keys)
        keys, values = (self._shared(array, queries.shape[2]) for array in (keys, values))
        scores = np.einsum("bqhd,bkhd->bhqk", queries, keys) * self.scale
        if self.cap:
            scores = self.cap * np.tanh(scores / self.cap)
        scores = np.where(self._seen(scores.shape[-1]), scores, -np.inf)
        with np.errstate(invalid="ignore"):
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
        made = np.einsum("bhqk,bkhd->bqhd", weights, values)
        return made.reshape(*made.shape[:2], -1)

    def _prepared(self, x: Array) -> Array:
        x = root_mean_square_norm(x, self.eps) if self.norm == "before" else x
        x = rotated(x, self.rotary, self.part, self.base) if self.rotary else x
        return root_mean_square_norm(x, self.eps) if self.norm == "after" else x

    def _shared(self, x: Array, heads: int) -> Array:
        times = heads // x.shape[2]
        return np.tile(x, (1, 1, times, 1)) if self.tiled else np.repeat(x, times, axis=2)

    def _seen(self, length: int) -> Array:
        past = np.arange(length)[:, None] - np.arange(length)[None]
        seen = np.ones_like(past, bool) if self.ahead is None else past >= -self.ahead
        return seen & (past < self.window) if self.window else seen


def rotated(x: Array, rotary: str, part: int, base: float) -> Array:
    """Rotate the first `part` numbers of every head by its position: x is [batch, time, heads, head]."""
    angles = np.arange(x.shape[1])[:, None] * base ** (-np.arange(0, part, 2) / part)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    turned = x.copy()
    first, second = (
        (slice(0, part // 2), slice(part // 2, part)) if rotary == "halves" else (slice(0, part, 2), slice(1, part, 2))
    )
    turned[..., first] = x[..., first] * cos - x[..., second] * sin
    turned[..., second] = x[..., second] * cos + x[..., first] * sin
    return turned


def _in_heads(x: Array, head: int) -> Array:
    """[batch, time, heads, head] of [batch, time, width]."""
    return x.reshape(*x.shape[:2], -1, head)
