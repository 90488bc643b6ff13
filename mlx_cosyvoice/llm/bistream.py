"""Text and speech interleaved, while text is still arriving (upstream: `Qwen2LM.inference_bistream`).

Text and speech alternate in blocks of mix_ratio: 5 text tokens, then 15 speech tokens, then the "fill" token says that
more text is due. The prompt's text and speech are cut into the same blocks, but for an instruction at its beginning,
which comes first as a whole. When no more text comes, what is left of it and the task id are run, and speech tokens
follow until the end of speech.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import TYPE_CHECKING

import mlx.core as mx

from mlx_cosyvoice.llm.drawing import Called, Sampler

if TYPE_CHECKING:
    from mlx_cosyvoice.llm.lm import SpeechLM


def new_text_before_speech(mix_ratio: Sequence[int], prompt_text: int, prompt_speech: int) -> int:
    """How many ids of new text must arrive before the first speech token is drawn: those that the blocks of the
    prompt's speech take beyond the prompt's text.

    Below 1, speech is drawn before the prompt's text has been run, and the rest of it would be spoken too: the model
    was trained on this order only where text runs ahead of its speech.

    Args:
        mix_ratio: text ids and speech tokens of a block.
        prompt_text: how many ids, the instruction not counted.
        prompt_speech: how many tokens.
    """
    text_block, speech_block = mix_ratio
    return text_block * max(1, -(-prompt_speech // speech_block)) - prompt_text


class Bistream:
    """One utterance. `push` each text token as it arrives, then `finish`; both yield speech tokens.

    Equal to upstream token by token, its oddities included: a text token that arrives leads to at most one block of
    speech; the last input of a block is run again by `finish`; nothing limits the number of tokens of `finish`; and
    where the text ends before the first token was drawn, prompt speech for which not enough of it arrived is dropped.
    Who does not want that asks for `begun` and takes `SpeechLM.generate` instead.

    Args:
        model: the language model.
        prompt_text: ids, the instruction's first.
        prompt_speech_token: tokens.
        sampler: draws every token.
        instruction: how many ids of `prompt_text` are its.
        unprompted_first_block: do as upstream where there is an instruction and no prompt speech: it takes the
            instruction for a block of text, so the first block of speech is drawn before any text was run.
    """

    def __init__(
        self,
        model: SpeechLM,
        prompt_text: Sequence[int],
        prompt_speech_token: Sequence[int],
        sampler: Sampler,
        *,
        instruction: int = 0,
        unprompted_first_block: bool = False,
    ) -> None:
        self.model, self.drawing = model, Called(sampler)
        self.text_block, self.speech_block = model.config.mix_ratio
        self.waiting_text, self.waiting_speech = list(prompt_text[instruction:]), list(prompt_speech_token)
        in_last_block = len(prompt_speech_token) % self.speech_block
        self.next_fill = self.speech_block - in_last_block
        self.decoded = self.drawing.decoded  # fill tokens too
        self.input = mx.concatenate([model.sos, model.embed_text(prompt_text[:instruction])], axis=1)
        self.without_text = 1 if unprompted_first_block else 1 + instruction  # rows of input
        self.cache = model.make_cache()

    @property
    def begun(self) -> bool:
        """Whether a token was drawn; all of the prompt's speech has been run then."""
        return bool(self.decoded)

    def push(self, token: int) -> Iterator[int]:
        """The speech tokens that text token `token` makes possible: none or one block.

        Raises:
            ValueError: (while iterating) the token is not in the vocabulary, or the sampler drew a special id other
                than "fill".
        """
        self.waiting_text += self.model.checked_text([token], "text")
        while self.waiting_speech and len(self.waiting_text) >= self.text_block:
            speech, self.waiting_speech = (
                self.waiting_speech[: self.speech_block],
                self.waiting_speech[self.speech_block :],
            )
            self._append(self._next_text(), self.model.embed_speech(speech))
        if self.waiting_speech:
            return
        # a block has ended, or none has begun: text is due
        if self.decoded or self.input.shape[1] == self.without_text:
            if len(self.waiting_text) < self.text_block:
                return
            if self.decoded:
                self.input = self._next_text()
            else:
                self._append(self._next_text())
        yield from self._block()

    def finish(self) -> Iterator[int]:
        """The speech tokens after the last text token, until the end of speech.

        Raises:
            ValueError: the sampler drew a special id other than the end of speech.
        """
        # self.input was run already if a block came before; the official model runs it again
        self._append(self.model.embed_text(self.waiting_text), self.model.task_id)
        for token in self._tokens(repeat(False)):
            if token == self.model.eos_token:
                return
            yield self._spoken(token)

    def _block(self) -> Iterator[int]:
        for token in self._tokens(repeat(True, self.next_fill - len(self.decoded))):
            if token == self.model.fill_token:
                break
            yield self._spoken(token)
        else:
            self.model.step(self.input, self.cache)
            self.decoded.append(self.model.fill_token)
        self.next_fill = len(self.decoded) + self.speech_block

    def _tokens(self, ignore_eos: Iterable[bool]) -> Iterator[int]:
        return self.model.tokens(self.input, self.cache, self.drawing, ignore_eos)

    def _spoken(self, token: int) -> int:
        if token >= self.model.config.speech_token_size:
            raise ValueError(f"the sampler drew the special token {token}, which has no meaning at this point")
        self.input = self.model.embed_speech([token])
        return token

    def _next_text(self) -> mx.array:
        block, self.waiting_text = self.waiting_text[: self.text_block], self.waiting_text[self.text_block :]
        return self.model.embed_text(block)

    def _append(self, *parts: mx.array) -> None:
        self.input = mx.concatenate([self.input, *parts], axis=1)
