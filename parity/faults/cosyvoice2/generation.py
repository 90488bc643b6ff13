"""Mistakes in the loop that generates speech tokens, and in how text that arrives is interleaved with them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import mlx.core as mx

from mlx_cosyvoice.llm import bistream, drawing, lm
from parity.faults.base import Catalogue

CATALOGUE = Catalogue("generation")
GENERATE, BISTREAM = CATALOGUE.at("llm.generate"), CATALOGUE.at("llm.generate_bistream")


@GENERATE.wrapping(lm.Qwen2LM, "_generate")
def min_len_ignored(original: Any, self: Any, x: mx.array, cache: Any, sampler: Any, low: int, high: int) -> Any:
    """The end of speech is allowed from the first token on."""
    return original(self, x, cache, sampler, 0, high)


@GENERATE.wrapping(lm.Qwen2LM, "_generate")
def max_len_one_more(original: Any, self: Any, x: mx.array, cache: Any, sampler: Any, low: int, high: int) -> Any:
    """One token more than the longest is spoken."""
    return original(self, x, cache, sampler, low, high + 1)


@GENERATE.wrapping(lm.Qwen2LM, "_generate")
def special_ids_spoken(original: Any, self: Any, *args: Any) -> Iterator[int]:
    """Only the end of speech ends it; other special ids are spoken."""
    x, cache, sampler, low, high = args
    for token in self.tokens(x, cache, lm.drawing(sampler, high), (index < low for index in range(high))):
        if token == self.eos_token:
            return
        yield token


@CATALOGUE.at("llm.generate", "llm.generate_bistream").wrapping(drawing.Called, "draw")
def sampler_forgets(original: Any, self: Any, log_probs: mx.array, ignore_eos: bool) -> mx.array:
    """The sampler never knows what was said before."""
    said, self.decoded = self.decoded, []
    try:
        return original(self, log_probs, ignore_eos)
    finally:
        self.decoded = said + self.decoded


@BISTREAM.wrapping(bistream.Bistream, "_block")
def fill_due_late(original: Any, self: Any) -> Iterator[int]:
    """The fill token is due one token later than the block of speech is long."""
    self.next_fill += 1
    yield from original(self)


@BISTREAM.wrapping(bistream.Bistream, "finish")
def task_id_missing(original: Any, self: Any) -> Iterator[int]:
    """No task id says that the text has ended."""
    self._append(self.model.embed_text(self.waiting_text))
    for token in self._tokens(repeat(False)):
        if token == self.model.eos_token:
            return
        yield self._spoken(token)
