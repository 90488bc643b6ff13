"""Stage 2, the language model: cross entropy on speech tokens, as the official `Qwen2LM.forward` has it.

Most sequences hold two utterances of one speaker or three, text before text and speech before speech: that is what
zero-shot synthesis asks for. Some are interleaved (`bistream`). Only the rows of codes that the tokenizer uses are
trained.

A network so small takes long to find out which word it is saying. So it is asked, at every token: two heads, which are
left out of the checkpoint, name the word that the next token belongs to, and the one after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.llm import Qwen2LM
from reference.nano.corpus import Corpus, Utterance
from reference.nano.speech_tokenizer import Supervised, edits
from reference.nano.text import text_tokenizer
from reference.nano.words import PHONES, WORDS, is_held_out, written
from reference.sampling import RASSampler, uniforms

IGNORE = -100
#: Shares of sequences that hold one utterance alone, two, and three.
TOGETHER = (0.2, 0.5, 0.3)
#: Shares of texts that end with a full stop, that begin with a capital.
FULL_STOP, CAPITAL = 0.5, 0.25
#: Standard deviation of new embeddings: torch's own, 1, hides the positions for long.
EMBEDDING_STD = 0.02
#: The bias of codes that never occur.
NEVER = -30.0
#: Of the cross entropy of the two words beside that of the tokens.
LESSON_WEIGHT = 0.5
#: The class of no word: it is over.
NO_WORD = len(WORDS)
#: A token is so long, in seconds.
TOKEN = 0.04

#: Steps whose sequences are drawn together and sorted by length, to pad little.
DRAWN_TOGETHER = 4

SOS, TASK = 0, 1


def text_ids(words: Sequence[str], rng: np.random.Generator) -> list[int]:
    """The ids of `words`, written in one of the ways in which people would."""
    text = written(words)
    if rng.random() < CAPITAL:
        text = text.capitalize()
    return text_tokenizer().encode(text + "." if rng.random() < FULL_STOP else text)


@dataclass(frozen=True)
class Table:
    """Numbers all inputs: the two rows of `llm_embedding`, the text's ids, the codes in use, the special tokens.

    Outputs are numbered by `codes` alone, the special tokens behind them.
    """

    text: int
    codes: Tensor
    speech_token_size: int

    @property
    def rows(self) -> Tensor:
        """The rows of `speech_embedding` and `llm_decoder` that are trained."""
        return torch.cat([self.codes, self.speech_token_size + torch.arange(Qwen2LM.special)])

    @property
    def eos(self) -> int:
        return len(self.codes) + Qwen2LM.eos

    @property
    def fill(self) -> int:
        return len(self.codes) + Qwen2LM.fill

    def inputs(self, text: Sequence[int]) -> list[int]:
        return [2 + number for number in text]

    def speech(self, classes: Sequence[int]) -> list[int]:
        return [2 + self.text + number for number in classes]


def sequence(
    text: Sequence[int], speech: Sequence[int], table: Table, mix_ratio: tuple[int, int] | None
) -> tuple[list[int], list[int]]:
    """Inputs, and for each what is to follow it (or IGNORE), of text ids and classes of speech tokens.

    With `mix_ratio` they are interleaved, as bistream decoding goes: blocks of text, each with its block of speech and
    "fill", then the rest of the text, the task id and the rest of the speech.
    """
    inputs, targets = [SOS], [IGNORE]
    if mix_ratio is not None:
        of_text, of_speech = mix_ratio
        while len(text) >= of_text and len(speech) >= of_speech:
            inputs += [*table.inputs(text[:of_text]), *table.speech(speech[:of_speech])]
            targets += [*[IGNORE] * (of_text - 1), *speech[:of_speech], table.fill]
            text, speech = text[of_text:], speech[of_speech:]
    inputs += [*table.inputs(text), TASK, *table.speech(speech)]
    targets += [*[IGNORE] * len(text), *speech, table.eos]
    return inputs, targets


def words_said(utterances: Sequence[Utterance]) -> tuple[list[int], list[int]]:
    """For every token of the utterances, one after the other: the class of the word it belongs to, and of the next."""
    numbers = [WORDS.index(word) for utterance in utterances for word in utterance.words] + [NO_WORD, NO_WORD]
    now, following, before = [], [], 0
    for utterance in utterances:
        last_phones = np.cumsum([PHONES[word] for word in utterance.words]) - 1
        ends = np.array(utterance.ends)[last_phones]
        # the pause at the end belongs to the last word
        places = np.searchsorted(ends[:-1], (np.arange(utterance.tokens) + 0.5) * TOKEN) + before
        now += [numbers[place] for place in places]
        following += [numbers[place + 1] for place in places]
        before += len(utterance.words)
    return now, following


class Taught(nn.Module):
    """The language model, with the two heads that it is taught by."""

    def __init__(self, config: Mapping[str, Any], used: Tensor) -> None:
        super().__init__()
        self.lm = new_network(config, used)
        self.words = nn.ModuleList(nn.Linear(config["llm_output_size"], len(WORDS) + 1) for _ in range(2))


def new_network(config: Mapping[str, Any], used: Tensor) -> Qwen2LM:
    """An untrained language model that never says a code outside `used`."""
    network = Qwen2LM(config)
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=EMBEDDING_STD)
    never = torch.ones(config["speech_token_size"], dtype=torch.bool)
    never[used] = False
    with torch.no_grad():
        network.llm_decoder.weight[: len(never)][never] = 0
        network.llm_decoder.bias[: len(never)][never] = NEVER
        network.speech_embedding.weight[: len(never)][never] = 0
    return network


@dataclass
class LanguageStage:
    """Its losses and its check, for `training.train`. `tokens`: those of every utterance of a split, in order."""

    train: Corpus
    held_out: Mapping[str, Corpus]
    tokens: Mapping[str, Sequence[Tensor]]
    recogniser: Supervised
    phones: Mapping[str, int]
    config: Mapping[str, Any]
    batch: int = 16
    bistream: float = 0.0
    checks: int = 24
    table: Table = field(init=False)

    def __post_init__(self) -> None:
        used = torch.cat(list(self.tokens["train"])).unique()
        size = self.config["speech_token_size"]
        self.table = Table(self.config["qwen"]["vocab_size"], used, size)
        classes = torch.zeros(size, dtype=torch.long)
        classes[used] = torch.arange(len(used))
        self._classes = [classes[tokens].tolist() for tokens in self.tokens["train"]]
        self._of_variant: dict[int, list[int]] = {}
        for index, utterance in enumerate(self.train.utterances):
            self._of_variant.setdefault(utterance.variant, []).append(index)

    def _drawn(self, rng: np.random.Generator) -> list[list[int]]:
        """One training sequence: inputs, targets, and the words as further targets."""
        first = int(rng.integers(len(self._classes)))
        alike = self._of_variant[self.train.utterances[first].variant]
        more = int(rng.choice(len(TOGETHER), p=TOGETHER))
        chosen = [first, *(alike[rng.integers(len(alike))] for _ in range(more))]
        said = [self.train.utterances[index] for index in chosen]
        if is_held_out([word for utterance in said for word in utterance.words]):
            return self._drawn(rng)
        text = [number for utterance in said for number in text_ids(utterance.words, rng)]
        speech = [number for index in chosen for number in self._classes[index]]
        mix_ratio: tuple[int, int] = tuple(self.config["mix_ratio"])
        interleaved = rng.random() < self.bistream and len(speech) / len(text) > mix_ratio[1] / mix_ratio[0]
        mixed = mix_ratio if interleaved else None
        inputs, targets = sequence(text, speech, self.table, mixed)
        lessons = [sequence(text, words, self.table, mixed)[1] for words in words_said(said)]
        special = {self.table.eos, self.table.fill}
        taught = [
            [IGNORE if target in special else word for word, target in zip(row, targets, strict=True)]
            for row in lessons
        ]
        return [inputs, targets, *taught]

    def _batch(self, rng: np.random.Generator, step: int) -> list[list[list[int]]]:
        drawn = sorted((self._drawn(rng) for _ in range(DRAWN_TOGETHER * self.batch)), key=lambda rows: len(rows[0]))
        place = rng.integers(DRAWN_TOGETHER) * self.batch
        return drawn[place : place + self.batch]

    def hidden(self, network: Qwen2LM, inputs: Tensor) -> Tensor:
        """[B, L] numbers of `table` -> [B, L, hidden size]."""
        embeddings = torch.cat(
            [
                network.llm_embedding.weight,
                network.llm.model.model.embed_tokens.weight,
                network.speech_embedding.weight[self.table.rows],
            ]
        )
        return network.llm.model.model(F.embedding(inputs, embeddings), None)[0]

    def losses(self, network: Taught, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        batch, rows = self._batch(rng, step), self.table.rows
        longest = max(len(inputs) for inputs, *_ in batch)
        filled = [
            torch.tensor([row + [IGNORE] * (longest - len(row)) for row in kind]) for kind in zip(*batch, strict=True)
        ]
        inputs, targets, *words = filled
        hidden = self.hidden(network.lm, inputs.clamp(min=0))
        logits = F.linear(hidden, network.lm.llm_decoder.weight[rows], network.lm.llm_decoder.bias[rows])
        counted = targets != IGNORE
        speech = F.cross_entropy(logits[counted], targets[counted])
        taught = [
            F.cross_entropy(head(hidden).flatten(0, 1), wanted.flatten(), ignore_index=IGNORE)
            for head, wanted in zip(network.words, words, strict=True)
        ]
        right = (logits.argmax(2) == targets)[counted].float().mean()
        loss = speech + LESSON_WEIGHT * (taught[0] + taught[1])
        return {"loss": loss, "speech": speech, "word": taught[0], "next_word": taught[1], "accuracy": right}

    def check(self, network: Taught) -> dict[str, float]:
        """Zero-shot: phones that the recogniser reads in what was generated, against those of the test string."""
        figures: dict[str, float] = {}
        for split, corpus in self.held_out.items():
            rng = np.random.default_rng(7)
            errors = total = lengths = wanted = 0
            for index in rng.permutation(len(corpus.utterances))[: self.checks]:
                target = corpus.utterances[index]
                others = [at for at, one in enumerate(corpus.utterances) if one.variant == target.variant]
                prompt = others[(others.index(int(index)) + 1) % len(others)]
                found = self.generated(network.lm, target, corpus.utterances[prompt], self.tokens[split][prompt], rng)
                spelled = self.recogniser.spelled(torch.tensor(found)) if found else []
                errors += edits(spelled, [self.phones[phone] for phone in target.phones])
                total += len(target.phones)
                lengths, wanted = lengths + len(found), wanted + target.tokens
            figures |= {f"{split} phone error": errors / total, f"{split} length": lengths / wanted}
        return figures

    def generated(
        self, network: Qwen2LM, target: Utterance, prompt: Utterance, speech: Tensor, rng: np.random.Generator
    ) -> list[int]:
        """The tokens of what `target` says, in the voice of `prompt`, whose tokens are `speech`."""
        sampler = RASSampler(self.config["sampling"], uniforms(int(rng.integers(2**31))))
        text, before = (torch.tensor([text_ids(one.words, rng)]) for one in (target, prompt))
        return list(network.generate(text, before, speech[None], sampler))
