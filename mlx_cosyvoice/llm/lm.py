"""`cosyvoice.llm.llm`, Qwen2LM and CosyVoice3LM: text tokens in, speech tokens out, one at a time.

The sequence is [sos, prompt text, text, task id, prompt speech, generated speech...]. Ids from `speech_token_size` on
are special (`SpeechIds`); what "fill" means only `Bistream` knows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.config import LLMConfig
from mlx_cosyvoice.families import cosyvoice2
from mlx_cosyvoice.families.declaration import SpeechIds
from mlx_cosyvoice.llm.bistream import Bistream
from mlx_cosyvoice.llm.cache import KVCache
from mlx_cosyvoice.llm.drawing import Drawing, Sampler, drawing
from mlx_cosyvoice.llm.qwen2 import Qwen2Encoder
from mlx_cosyvoice.mixed import outer_dtype
from mlx_cosyvoice.nn import Linear, Module


def checked_ids(ids: Iterable[int], size: int, name: str) -> list[int]:
    """`ids` as a list of ints.

    Raises:
        ValueError: one of them is not in [0, size); an embedding would silently read foreign memory.
    """
    checked = [int(value) for value in ids]
    for index, value in enumerate(checked):
        if not 0 <= value < size:
            raise ValueError(f"{name}[{index}] is {value}, must lie in 0..{size - 1}")
    return checked


class SpeechLM(Module):
    """The speech-token language model. A family adds where the embeddings around the text come from.

    Args:
        config: its sizes.
        ids: what follows the speech tokens.
        bias: whether `llm_decoder` has one.

    Raises:
        ValueError: the sizes in `config` contradict each other.
    """

    def __init__(self, config: LLMConfig, ids: SpeechIds, *, bias: bool) -> None:
        super().__init__()
        if not config.llm_input_size == config.llm_output_size == config.qwen.hidden_size:
            raise ValueError(
                f"llm_input_size {config.llm_input_size}, llm_output_size {config.llm_output_size} and "
                f"qwen.hidden_size {config.qwen.hidden_size} must be equal"
            )
        self.config, self.ids = config, ids
        self.speech_token_size = size = config.speech_token_size
        self.eos_token, self.fill_token, vocabulary = size + ids.end, size + ids.fill, size + ids.count
        self.llm = Qwen2Encoder(config.qwen)
        self.llm_decoder = Linear(config.llm_output_size, vocabulary, bias=bias)
        self.speech_embedding = nn.Embedding(vocabulary, config.llm_input_size)

    @property
    def sos(self) -> mx.array:
        """What the sequence begins with, [1, 1, H]."""
        raise NotImplementedError

    @property
    def task_id(self) -> mx.array:
        """What ends the text, [1, 1, H]."""
        raise NotImplementedError

    def embed_text(self, ids: Sequence[int]) -> mx.array:
        """[1, N, H]"""
        return self._embedded(self.llm.model.model.embed_tokens, ids)

    def embed_speech(self, ids: Sequence[int]) -> mx.array:
        """[1, N, H]"""
        return self._embedded(self.speech_embedding, ids)

    def _embedded(self, embedding: nn.Embedding, ids: Sequence[int]) -> mx.array:
        if not ids:  # a packed embedding of MLX cannot look up none
            return self.sos[:, :0]
        return embedding(mx.array([ids], dtype=mx.int32))

    def make_cache(self, capacity: int = 0) -> KVCache:
        """An empty cache for `step`, with room for `capacity` positions and for more when they come."""
        return KVCache(self.config.qwen.num_hidden_layers, capacity)

    def prompt(self, text: Sequence[int], prompt_text: Sequence[int], prompt_speech_token: Sequence[int]) -> mx.array:
        """The embedded sequence [1, 1 + P + N + 1 + S, H] that generation starts from.

        Raises:
            ValueError: an id out of range, named with its place.
        """
        words = self.checked_text(prompt_text, "prompt_text") + self.checked_text(text, "text")
        speech = self._checked_speech(prompt_speech_token)
        parts = [self.sos, self.embed_text(words), self.task_id, self.embed_speech(speech)]
        return mx.concatenate(parts, axis=1)

    def prefill_prefix(self, prompt_text: Sequence[int]) -> KVCache:
        """What every utterance with this prompt text begins with, run once: [sos, prompt text].

        Returns:
            A cache of 1 + len(prompt_text) positions for `generate(..., prefix=)`, evaluated.

        Raises:
            ValueError: an id out of range, named with its place.
        """
        cache = self.make_cache()
        words = self.embed_text(self.checked_text(prompt_text, "prompt_text"))
        self.llm(mx.concatenate([self.sos, words], axis=1), cache)
        mx.eval(list(cache.arrays()))
        return cache

    def step(self, x: mx.array, cache: KVCache) -> mx.array:
        """Run [1, L, H] more positions; log-probabilities [1, V] (float32) of the token that follows the last one."""
        backbone = self.llm.model.model
        hidden = self.llm(x.astype(outer_dtype(backbone.norm)), cache)
        logits = self.llm_decoder(hidden[:, -1]).astype(mx.float32)
        return logits - mx.logsumexp(logits, axis=-1, keepdims=True)

    def generate(
        self,
        text: Sequence[int],
        prompt_text: Sequence[int],
        prompt_speech_token: Sequence[int],
        sampler: Sampler,
        *,
        min_token_text_ratio: float = 2,
        max_token_text_ratio: float = 20,
        prefix: KVCache | None = None,
    ) -> Iterator[int]:
        """Speech tokens of `text` until a special id is drawn or there are max_token_text_ratio of them a text token.

        Before min_token_text_ratio tokens a text token the end of speech is forbidden; the other special ids are not,
        and end the run at any time. `prefix`, from `prefill_prefix(prompt_text)`, saves running those
        positions again; it is not changed. Where there is a device beside the CPU, a plain `RASSampler` is
        not called but becomes a part of the graph, to the same effect (see `drawing`).

        Raises:
            ValueError: `text` is empty, an id is out of range, or `prefix` is of another length than `prompt_text`
                needs (at once, not at the first token).
        """
        if not len(text):
            raise ValueError("text is empty: give at least one text token")
        start = self.prompt(text, prompt_text, prompt_speech_token)
        min_len, max_len = int(len(text) * min_token_text_ratio), int(len(text) * max_token_text_ratio)
        capacity = start.shape[1] + max_len
        if prefix is None:
            cache = self.make_cache(capacity)
        else:
            expected = 1 + len(prompt_text)
            if prefix.offset != expected:
                raise ValueError(
                    f"prefix holds {prefix.offset} positions, prompt_text needs {expected}: "
                    "make it by prefill_prefix(prompt_text)"
                )
            start, cache = start[:, expected:], prefix.copy(capacity)
        return self._generate(start, cache, sampler, min_len, max_len)

    def _generate(self, x: mx.array, cache: KVCache, sampler: Sampler, min_len: int, max_len: int) -> Iterator[int]:
        ignore_eos = (index < min_len for index in range(max_len))
        for token in self.tokens(x, cache, drawing(sampler, max_len), ignore_eos):
            if token >= self.config.speech_token_size:
                return
            yield token

    def tokens(self, x: mx.array, cache: KVCache, drawing: Drawing, ignore_eos: Iterable[bool]) -> Iterator[int]:
        """The token loop: one token, special ones too, for each of `ignore_eos`, the first after `x` [1, L, H].

        A token is run when the one after it is asked for, or `drawing.lag` tokens before; at the end so many steps are
        in vain.
        """
        unread: deque[mx.array] = deque()
        for forbidden in ignore_eos:
            unread.append(drawing.draw(self.step(x, cache)[0], forbidden))
            x = self.speech_embedding(unread[-1][None, :1])
            if len(unread) > drawing.lag:
                yield drawing.read(unread.popleft())
        yield from map(drawing.read, unread)

    def generate_bistream(
        self,
        text: Iterable[int],
        prompt_text: Sequence[int],
        prompt_speech_token: Sequence[int],
        sampler: Sampler,
        **how: Any,
    ) -> Iterator[int]:
        """Speech tokens while `text` is still arriving, token by token; arguments as of `bistream.Bistream`.

        Raises:
            ValueError: an id out of range (those of the prompt at once), no text, or a special id drawn where it
                has no meaning.
        """
        return self._generate_bistream(self.begin_bistream(prompt_text, prompt_speech_token, sampler, **how), text)

    def begin_bistream(
        self, prompt_text: Sequence[int], prompt_speech_token: Sequence[int], sampler: Sampler, **how: Any
    ) -> Bistream:
        """One utterance whose text arrives piece by piece; arguments as of `bistream.Bistream`.

        Raises:
            ValueError: an id out of range.
        """
        words, speech = self.checked_text(prompt_text, "prompt_text"), self._checked_speech(prompt_speech_token)
        return Bistream(self, words, speech, sampler, **how)

    def _generate_bistream(self, utterance: Bistream, text: Iterable[int]) -> Iterator[int]:
        arrived = False
        for token in text:
            arrived = True
            yield from utterance.push(token)
        if not arrived:
            raise ValueError("text is empty: give at least one text token")
        yield from utterance.finish()

    def checked_text(self, ids: Iterable[int], name: str) -> list[int]:
        """`ids` as a list of ints.

        Raises:
            ValueError: one of them is not in the vocabulary.
        """
        return checked_ids(ids, self.config.qwen.vocab_size, name)

    def _checked_speech(self, ids: Iterable[int]) -> list[int]:
        return checked_ids(ids, self.config.speech_token_size, "prompt_speech_token")


class Qwen2LM(SpeechLM):
    """CosyVoice2's: sos and task id are the two rows of `llm_embedding`."""

    def __init__(self, config: LLMConfig, ids: SpeechIds = cosyvoice2.SPEECH_IDS) -> None:
        super().__init__(config, ids, bias=True)
        self.llm_embedding = nn.Embedding(2, config.llm_input_size)

    @property
    def sos(self) -> mx.array:
        return self.llm_embedding(mx.array([[0]]))

    @property
    def task_id(self) -> mx.array:
        return self.llm_embedding(mx.array([[1]]))
