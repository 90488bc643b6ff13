"""What the recogniser hears of what the folder says, stage by stage, on strings that training never saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reference.families import COSYVOICE2
from reference.nano.corpus import Corpus, Utterance
from reference.nano.hift import speak
from reference.nano.llm import text_ids
from reference.nano.recogniser import Recogniser, word_errors
from reference.nano.sizes import NANO
from reference.nano.voices import VARIANTS
from reference.sampling import RASSampler, uniforms


@dataclass(frozen=True)
class Case:
    """What `target` says, to be said in the voice of `prompt`, another utterance of the same variant."""

    target: Utterance
    prompt: Utterance


def cases(corpus: Corpus, most: int) -> Iterator[Case]:
    """Up to `most` of them, spread over the variants."""
    step = max(1, len(corpus.utterances) // most)
    for index in range(0, len(corpus.utterances), step):
        target = corpus.utterances[index]
        alike = [one for one in corpus.utterances if one.variant == target.variant and one.words != target.words]
        yield Case(target, alike[index % len(alike)])


class Nano:
    """The networks of an exported folder, in PyTorch."""

    def __init__(self, folder: Path, sizes: Mapping[str, Any] = NANO) -> None:
        self.folder, self.sizes = folder, sizes
        self._loaded: dict[str, Any] = {}

    def network(self, name: str) -> Any:
        """A component, loaded when it is asked for."""
        if name not in self._loaded:
            network = COSYVOICE2.networks[name]
            self._loaded[name] = network.load(self.folder / network.file, self.sizes[name])
        return self._loaded[name]

    def tokens(self, corpus: Corpus, utterance: Utterance) -> Tensor:
        """[1, T] int64, the speech tokens."""
        return self.network("speech_tokenizer")(corpus.array("log_mel", utterance).T[None]).long()

    def mel(self, corpus: Corpus, case: Case, tokens: Tensor) -> Tensor:
        """The mel [1, 80, 2T] of tokens [1, T] in the prompt's voice."""
        return self.network("flow").inference(
            tokens,
            self.tokens(corpus, case.prompt),
            corpus.array("mel", case.prompt)[None],
            self.network("campplus")(corpus.array("fbank", case.prompt)[None]),
            streaming=False,
            finalize=True,
        )

    def new_tokens(self, corpus: Corpus, case: Case, seed: int) -> Tensor:
        """[1, T], what the language model makes of the text."""
        rng = np.random.default_rng(seed)
        text, before = (torch.tensor([text_ids(one.words, rng)]) for one in (case.target, case.prompt))
        sampler = RASSampler(self.sizes["llm"]["sampling"], uniforms(seed))
        return torch.tensor([[*self.network("llm").generate(text, before, self.tokens(corpus, case.prompt), sampler)]])


def _originals(nano: Nano, corpus: Corpus, case: Case, seed: int) -> Tensor:
    return corpus.array("wave", case.target)[:, 0]


def _true_mel(nano: Nano, corpus: Corpus, case: Case, seed: int) -> Tensor:
    return speak(nano.network("hift"), corpus.array("mel", case.target).T[None])


def _true_tokens(nano: Nano, corpus: Corpus, case: Case, seed: int) -> Tensor:
    return speak(nano.network("hift"), nano.mel(corpus, case, nano.tokens(corpus, case.target)))


def _zero_shot(nano: Nano, corpus: Corpus, case: Case, seed: int) -> Tensor:
    tokens = nano.new_tokens(corpus, case, seed)
    return speak(nano.network("hift"), nano.mel(corpus, case, tokens)) if tokens.shape[1] else torch.zeros(2400)


#: What is heard: how it is made.
WAYS: dict[str, Callable[[Nano, Corpus, Case, int], Tensor]] = {
    "originals": _originals,
    "true mel": _true_mel,
    "true tokens": _true_tokens,
    "zero-shot": _zero_shot,
}


@torch.inference_mode()
def evaluate(folder: Path, corpora: Mapping[str, Corpus], ways: list[str], most: int) -> dict[str, dict[str, float]]:
    """Word error rates by way and split, in all and of each voice; `most` cases a split."""
    nano, recogniser = Nano(folder), Recogniser()
    table: dict[str, dict[str, float]] = {}
    for way in ways:
        for split, corpus in corpora.items():
            errors: Counter[str] = Counter()
            words: Counter[str] = Counter()
            for seed, case in enumerate(cases(corpus, most)):
                wave = WAYS[way](nano, corpus, case, seed)
                heard = recogniser.words(wave.numpy(), 24000)
                for group in ("all", VARIANTS[case.target.variant].voice):
                    errors[group] += word_errors(heard, case.target.words)
                    words[group] += len(case.target.words)
            table[f"{way}, {split}"] = {group: errors[group] / words[group] for group in words}
    return table
