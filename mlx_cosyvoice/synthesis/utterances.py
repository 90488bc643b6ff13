"""The speech tokens of each utterance, by the language model or given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import mlx.core as mx

from mlx_cosyvoice.llm import Qwen2LM, RASSampler
from mlx_cosyvoice.llm.lm import Sampler
from mlx_cosyvoice.synthesis.arriving import ArrivingText
from mlx_cosyvoice.synthesis.metrics import Metrics
from mlx_cosyvoice.synthesis.modes import ModelInput
from mlx_cosyvoice.synthesis.prefixes import PrefixCache
from mlx_cosyvoice.synthesis.randomness import segment_keys
from mlx_cosyvoice.text import TextTokenizer


@dataclass(frozen=True)
class TokenOptions:
    """How the language model is run; defaults as upstream.

    Attributes:
        seed: of the draws.
        min_token_text_ratio: at least so many speech tokens a text token before the speech may end.
        max_token_text_ratio: at most so many.
        sampler: draws all tokens instead of one made from `seed`.
    """

    seed: int = 0
    min_token_text_ratio: float = 2
    max_token_text_ratio: float = 20
    sampler: Sampler | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_token_text_ratio <= self.max_token_text_ratio:
            raise ValueError(
                f"min_token_text_ratio {self.min_token_text_ratio} and max_token_text_ratio "
                f"{self.max_token_text_ratio}: must be 0 <= min <= max"
            )


class Utterances:
    """Runs the language model for one text, utterance by utterance; each is an iterator of speech tokens.

    Made for one thread: MLX's streams belong to the thread that uses them.
    """

    def __init__(
        self, llm: Qwen2LM, tokenizer: TextTokenizer, given: ModelInput, prefixes: PrefixCache, options: TokenOptions
    ) -> None:
        self.llm, self.tokenizer, self.given, self.prefixes, self.options = llm, tokenizer, given, prefixes, options

    def of_segments(self, segments: Iterable[str], metrics: Metrics) -> Iterator[Iterator[int]]:
        """Of texts that are known, one utterance each."""
        for segment, sampler in zip(segments, self._samplers(), strict=False):
            yield self.llm.generate(
                self.tokenizer.encode(segment),
                self.given.prompt_text,
                self.given.llm_prompt_speech_token,
                sampler,
                min_token_text_ratio=self.options.min_token_text_ratio,
                max_token_text_ratio=self.options.max_token_text_ratio,
                prefix=self.prefixes.get(self.given.prompt_text, metrics),
            )

    def of_arriving(self, pieces: Iterable[str]) -> Iterator[Iterator[int]]:
        """Of a text that is still being written."""
        text = ArrivingText(pieces, self.tokenizer)
        for ids, sampler in zip(text.utterances(), self._samplers(), strict=False):
            yield self._limited(ids, sampler)

    def _limited(self, ids: Iterator[int], sampler: Sampler) -> Iterator[int]:
        """Upstream lets a bistream run for ever after the last text token; here max_token_text_ratio holds too."""
        arrived, ended = 0, False

        def counted() -> Iterator[int]:
            nonlocal arrived, ended
            for token in ids:
                arrived += 1
                yield token
            ended = True

        tokens = self.llm.generate_bistream(
            counted(), self.given.prompt_text, self.given.llm_prompt_speech_token, self._without_misplaced(sampler)
        )
        for spoken, token in enumerate(tokens, 1):
            yield token
            if ended and spoken >= arrived * self.options.max_token_text_ratio:
                return

    def _without_misplaced(self, sampler: Sampler) -> Sampler:
        """Draws again what upstream fails on: the unused id, and "more text" after the text has ended."""
        unused, fill = self.llm.eos_token + 1, self.llm.fill_token

        def draw(log_probs: mx.array, decoded: list[int], ignore_eos: bool) -> int:
            token = sampler(log_probs, decoded, ignore_eos)
            while token == unused or (token == fill and not ignore_eos):
                log_probs = mx.where(mx.arange(log_probs.shape[0]) == token, -mx.inf, log_probs)
                token = sampler(log_probs, decoded, ignore_eos)
            return token

        return draw

    def _samplers(self) -> Iterator[Sampler]:
        for key, _ in segment_keys(self.options.seed):
            yield self.options.sampler or RASSampler.from_key(self.llm.config.sampling, key)
