"""`cosyvoice.llm.llm`, Qwen2LM and CosyVoice3LM: text tokens in, speech tokens out, in plain PyTorch (inference only).

The sequence is [sos, prompt text, text, task id, prompt speech, generated speech...]. Ids from `speech_token_size` on
are special: among them are the end of speech, and "fill" (more text please), which only the interleaved order knows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reference.qwen2 import Cache, Qwen2ForCausalLM, at_least_float32

#: (log-probabilities [V], tokens so far, whether the end of speech is forbidden) -> token id.
Sampler = Callable[[Tensor, list[int], bool], int]


class Qwen2Encoder(nn.Module):
    """Holds the backbone under its official path, `llm.model`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = Qwen2ForCausalLM(config)

    def forward(self, x: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        return self.model(x, cache)


class SpeechLM(nn.Module):
    """The speech-token language model. Token ids are int64 [1, N]."""

    #: Of the special ids: how many there are, which one ends the speech, which one asks for text.
    special: int
    eos: int
    fill: int
    #: Of `llm_decoder`.
    bias: bool

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.speech_token_size = config["speech_token_size"]
        self.eos_token, self.fill_token = self.speech_token_size + self.eos, self.speech_token_size + self.fill
        self.mix_ratio = tuple(config["mix_ratio"])
        self.sampling = dict(config["sampling"])  # for a `sampling.RASSampler`, which the caller makes
        vocabulary = self.speech_token_size + self.special
        self.llm = Qwen2Encoder(config["qwen"])
        self.llm_decoder = nn.Linear(config["llm_output_size"], vocabulary, bias=self.bias)
        self.speech_embedding = nn.Embedding(vocabulary, config["llm_input_size"])

    @property
    def upstream_forbids(self) -> int:
        """The id that upstream forbids where it means the end of speech: the first special one, CosyVoice3's sos."""
        return self.speech_token_size

    @property
    def sos(self) -> Tensor:
        raise NotImplementedError

    @property
    def task_id(self) -> Tensor:
        raise NotImplementedError

    def embed_text(self, ids: Tensor) -> Tensor:
        return self.llm.model.model.embed_tokens(ids)

    def prompt(self, text: Tensor, prompt_text: Tensor, prompt_speech_token: Tensor) -> Tensor:
        """The embedded sequence [1, 1 + P + N + 1 + S, H] that generation starts from."""
        words = self.embed_text(torch.cat([prompt_text, text], dim=1))
        return torch.cat([self.sos, words, self.task_id, self.speech_embedding(prompt_speech_token)], dim=1)

    def forward_one_step(self, x: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """Run [1, L, H] more positions; returns their hidden states [1, L, H] and the grown cache."""
        return self.llm(x, cache)

    def log_probs(self, hidden: Tensor) -> Tensor:
        """Log-probabilities [1, V] of the token that follows the last position."""
        return at_least_float32(self.llm_decoder(hidden[:, -1])).log_softmax(-1)

    def step(self, x: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        hidden, cache = self.forward_one_step(x, cache)
        return self.log_probs(hidden)[0], cache

    @torch.inference_mode()
    def generate(
        self,
        text: Tensor,
        prompt_text: Tensor,
        prompt_speech_token: Tensor,
        sampler: Sampler,
        *,
        min_token_text_ratio: float = 2,
        max_token_text_ratio: float = 20,
    ) -> Iterator[int]:
        """Speech tokens of `text` until a special id is drawn or there are max_token_text_ratio of them a text token.

        Before min_token_text_ratio tokens a text token the end of speech is forbidden; the other special ids are not,
        and end the run at any time.

        Raises:
            ValueError: `text` is empty.
        """
        if not text.shape[1]:
            raise ValueError("text is empty: give at least one text token")
        min_len = int(text.shape[1] * min_token_text_ratio)
        max_len = int(text.shape[1] * max_token_text_ratio)
        x, cache = self.prompt(text, prompt_text, prompt_speech_token), None
        decoded: list[int] = []
        for index in range(max_len):
            log_probs, cache = self.step(x, cache)
            token = sampler(log_probs, decoded, index < min_len)
            if token >= self.speech_token_size:
                return
            yield token
            decoded.append(token)
            x = self.speech_embedding.weight[token].reshape(1, 1, -1)

    @torch.inference_mode()
    def generate_bistream(
        self,
        text_chunks: Iterable[Tensor],
        prompt_text: Tensor,
        prompt_speech_token: Tensor,
        sampler: Sampler,
        *,
        instruction: int = 0,
        unprompted_first_block: bool = False,
    ) -> Iterator[int]:
        """Speech tokens while text is still arriving: blocks of mix_ratio[0] text and mix_ratio[1] speech tokens.

        The first `instruction` ids of the prompt's text are run at once; the others are cut into blocks like the text.
        With `unprompted_first_block` they count as a block, as upstream has it: where there is no prompt speech, the
        first block of speech is then drawn without any text.

        Every chunk that arrives leads to at most one block. After the last chunk the rest of the text follows, and
        tokens come until the end of speech; nothing limits their number.

        Raises:
            ValueError: no text arrived, or a special id was drawn where it has no meaning.
        """
        text_block, speech_block = self.mix_ratio
        waiting_text = self.embed_text(prompt_text[:, instruction:])
        waiting_speech = self.speech_embedding(prompt_speech_token)
        prompt_length = prompt_speech_token.shape[1]
        next_fill = (prompt_length // speech_block + 1) * speech_block - prompt_length
        x, cache = torch.cat([self.sos, self.embed_text(prompt_text[:, :instruction])], dim=1), None
        without_text = 1 if unprompted_first_block else x.shape[1]
        decoded: list[int] = []
        arrived = 0
        for chunk in text_chunks:
            arrived += chunk.shape[1]
            waiting_text = torch.cat([waiting_text, self.embed_text(chunk)], dim=1)
            # the prompt's speech goes first, a block beside each block of text
            while waiting_speech.shape[1] and waiting_text.shape[1] >= text_block:
                x = torch.cat([x, waiting_text[:, :text_block], waiting_speech[:, :speech_block]], dim=1)
                waiting_text, waiting_speech = waiting_text[:, text_block:], waiting_speech[:, speech_block:]
            if waiting_speech.shape[1]:
                continue
            # a block has ended with fill, or nothing was run yet: text is due
            if decoded or x.shape[1] == without_text:
                if waiting_text.shape[1] < text_block:
                    continue
                block, waiting_text = waiting_text[:, :text_block], waiting_text[:, text_block:]
                x = block if decoded else torch.cat([x, block], dim=1)
            x, cache = yield from self._until(self.fill_token, x, cache, decoded, sampler, due=next_fill)
            next_fill = len(decoded) + speech_block
        if not arrived:
            raise ValueError("text_chunks is empty: give at least one text token")
        # x was already run if a block came before. Upstream runs it a second time here, and so do we.
        x = torch.cat([x, waiting_text, self.task_id], dim=1)
        yield from self._until(self.eos_token, x, cache, decoded, sampler)

    def _until(
        self, end: int, x: Tensor, cache: Cache | None, decoded: list[int], sampler: Sampler, due: int | None = None
    ) -> Generator[int, None, tuple[Tensor, Cache]]:
        """Speech tokens until `end` is drawn, or `due` as the token of that index; all of them go to `decoded`.

        Returns the input of the last step, which was run, and the cache.
        """
        while True:
            log_probs, cache = self.step(x, cache)
            token = end if len(decoded) == due else sampler(log_probs, decoded, end != self.eos_token)
            decoded.append(token)
            if token == end:
                return x, cache
            if token >= self.speech_token_size:
                raise ValueError(f"the sampler drew the special token {token}, which has no meaning at this point")
            yield token
            x = self.speech_embedding.weight[token].reshape(1, 1, -1)


class Qwen2LM(SpeechLM):
    """CosyVoice2's: sos and task id are the two rows of `llm_embedding`."""

    special, eos, fill, bias = 3, 0, 2, True

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.llm_embedding = nn.Embedding(2, config["llm_input_size"])

    @property
    def sos(self) -> Tensor:
        return self.llm_embedding(torch.tensor([[0]]))

    @property
    def task_id(self) -> Tensor:
        return self.llm_embedding(torch.tensor([[1]]))


class CosyVoice3LM(SpeechLM):
    """CosyVoice3's: sos and task id are rows of `speech_embedding`, before and behind the end of speech."""

    special, eos, fill, bias = 200, 1, 3, False

    @property
    def sos(self) -> Tensor:
        return self.speech_embedding(torch.tensor([[self.eos_token - 1]]))

    @property
    def task_id(self) -> Tensor:
        return self.speech_embedding(torch.tensor([[self.eos_token + 1]]))


def build(config: Mapping[str, Any]) -> Qwen2LM:
    """The language model for a config with the field names of `cosyvoice2.yaml`, `qwen` and `sampling` nested."""
    return Qwen2LM(config).eval()


def build3(config: Mapping[str, Any]) -> CosyVoice3LM:
    """The same for `cosyvoice3.yaml`."""
    return CosyVoice3LM(config).eval()
