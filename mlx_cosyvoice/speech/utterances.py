"""The speech tokens of each utterance, by the language model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import mlx.core as mx

from mlx_cosyvoice.families.declaration import Silence
from mlx_cosyvoice.llm import RASSampler, Sampler, SpeechLM
from mlx_cosyvoice.llm.bistream import new_text_before_speech
from mlx_cosyvoice.prompt import Prompt
from mlx_cosyvoice.speech.arriving import ArrivingText, ArrivingUtterance
from mlx_cosyvoice.speech.metrics import Metrics
from mlx_cosyvoice.speech.prefixes import PrefixCache
from mlx_cosyvoice.speech.randomness import segment_keys
from mlx_cosyvoice.speech.silence import cut_short
from mlx_cosyvoice.text import TextTokenizer
from mlx_cosyvoice.text.arriving import from_the_first_word


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
        self,
        llm: SpeechLM,
        tokenizer: TextTokenizer,
        prompt: Prompt,
        prefixes: PrefixCache,
        options: TokenOptions,
        silence: Silence,
    ) -> None:
        self.llm, self.tokenizer, self.prompt, self.prefixes, self.options = llm, tokenizer, prompt, prefixes, options
        self.silence = silence

    def of_segments(self, segments: Iterable[str], metrics: Metrics) -> Iterator[Iterator[int]]:
        """Of texts that are known, one utterance each."""
        for segment, sampler in zip(segments, self._samplers(), strict=False):
            tokens = self._plain(self.tokenizer.encode(segment), sampler, metrics)
            yield cut_short(tokens, self.silence)

    @property
    def interleaves(self) -> bool:
        """Whether a text may be spoken in upstream's interleaved order while it arrives: not where speech would begin
        before the prompt's text has been read."""
        text, speech = self.prompt.transcript, self.prompt.llm_prompt_token
        return new_text_before_speech(self.llm.config.mix_ratio, len(text), len(speech)) >= 1

    def of_arriving(self, pieces: Iterable[str], metrics: Metrics) -> Iterator[Iterator[int]]:
        """Of a text that is still being written, in upstream's interleaved order.

        An utterance whose text has arrived before anything of it was spoken is spoken in the plain order.
        """
        text = ArrivingText(from_the_first_word(pieces), self.tokenizer)
        for utterance, sampler in zip(text.utterances(), self._samplers(), strict=False):
            yield cut_short(self._arriving(utterance, sampler, metrics), self.silence)

    def _arriving(self, utterance: ArrivingUtterance, sampler: Sampler, metrics: Metrics) -> Iterator[int]:
        interleaving = self.llm.begin_bistream(
            self.prompt.prompt_text,
            self.prompt.llm_prompt_token,
            self._without_misplaced(sampler),
            instruction=self.prompt.opening,
        )
        ids: list[int] = []
        spoken = 0
        for token in utterance:
            ids.append(token)
            if interleaving.begun or not utterance.ended:
                for speech in interleaving.push(token):
                    spoken += 1
                    yield speech
        if not interleaving.begun:
            yield from self._plain(ids, sampler, metrics)
            return
        # Upstream lets it run for ever after the last text token.
        most = max(0, int(len(ids) * self.options.max_token_text_ratio) - spoken)
        yield from islice(interleaving.finish(), most)

    def _plain(self, ids: list[int], sampler: Sampler, metrics: Metrics) -> Iterator[int]:
        return self.llm.generate(
            ids,
            self.prompt.prompt_text,
            self.prompt.llm_prompt_token,
            sampler,
            min_token_text_ratio=self.options.min_token_text_ratio,
            max_token_text_ratio=self.options.max_token_text_ratio,
            prefix=self.prefixes.get(self.prompt.prompt_text, metrics),
        )

    def _without_misplaced(self, sampler: Sampler) -> Sampler:
        """Draws again what upstream fails on: the unused ids, and "more text" after the text has ended."""
        first, fill = self.llm.config.speech_token_size, self.llm.fill_token
        unused = set(range(first, first + self.llm.ids.count)) - {self.llm.eos_token, fill}

        def draw(log_probs: mx.array, decoded: list[int], ignore_eos: bool) -> int:
            token = sampler(log_probs, decoded, ignore_eos)
            while token in unused or (token == fill and not ignore_eos):
                log_probs = mx.where(mx.arange(log_probs.shape[0]) == token, -mx.inf, log_probs)
                token = sampler(log_probs, decoded, ignore_eos)
            return token

        return draw

    def _samplers(self) -> Iterator[Sampler]:
        for key, _ in segment_keys(self.options.seed):
            yield self.options.sampler or RASSampler.from_key(self.llm.config.sampling, key, self.llm.ids)
