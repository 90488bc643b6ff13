"""The stages, in the order in which they are trained, each with what it needs of those before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reference.nano import campplus, flow, hift, llm
from reference.nano.corpus import Corpus, load_corpus, make_corpus
from reference.nano.sizes import NANO
from reference.nano.speech_tokenizer import Supervised, TokenizerStage, phone_table, tokenize
from reference.nano.training import Schedule, save, train

SEED = 2026
#: Training texts a variant, and test strings a variant.
PER_VARIANT, TESTS_PER_VARIANT = 160, 6
HELD_OUT = ("test", "held")
#: Utterances of a training variant whose speaker embeddings are computed.
EMBEDDED = 24


@dataclass
class Workplace:
    """A folder with the corpus and the checkpoints of the stages.

    Attributes:
        folder: it.
        per_variant: training texts a variant.
        tests: test strings a variant.
        share: of the steps that every stage is given; with few, the rate falls as early.
    """

    folder: Path
    per_variant: int = PER_VARIANT
    tests: int = TESTS_PER_VARIANT
    share: float = 1.0
    sizes: dict[str, Any] = field(default_factory=lambda: NANO)

    def schedule(self, steps: int, rate: float, warmup: int = 50) -> Schedule:
        return Schedule(steps=max(1, round(steps * self.share)), rate=rate, warmup=warmup)

    def checkpoint(self, stage: str) -> Path:
        return self.folder / f"{stage}.pt"

    def weights(self, stage: str) -> dict[str, Tensor]:
        """The network's state dict of a trained stage.

        Raises:
            FileNotFoundError: it was not trained yet; the command is named.
        """
        if not self.checkpoint(stage).exists():
            raise FileNotFoundError(f"{self.checkpoint(stage)}: train it first: python -m reference.nano {stage}")
        return torch.load(self.checkpoint(stage), weights_only=True)["network"]

    def corpus(self, split: str) -> Corpus:
        return load_corpus(self.folder / "data", split)

    @cached_property
    def train(self) -> Corpus:
        return self.corpus("train")

    @cached_property
    def held_out(self) -> dict[str, Corpus]:
        return {split: self.corpus(split) for split in HELD_OUT}

    @cached_property
    def phones(self) -> dict[str, int]:
        return phone_table(self.train)

    @cached_property
    def recogniser(self) -> Supervised:
        """The speech tokenizer and the phone recogniser behind it, trained."""
        network = Supervised(self.sizes["speech_tokenizer"], len(self.phones))
        network.load_state_dict(self.weights("speech_tokenizer"))
        return network.eval().requires_grad_(False)

    @cached_property
    def tokens(self) -> dict[str, list[Tensor]]:
        """The speech tokens of every utterance, made once for this tokenizer."""
        path = self.folder / "tokens.pt"
        if not path.exists() or path.stat().st_mtime < self.checkpoint("speech_tokenizer").stat().st_mtime:
            corpora = {"train": self.train, **self.held_out}
            made = {
                name: tokenize(self.recogniser.tokenizer, corpus.utterances, corpus) for name, corpus in corpora.items()
            }
            save(path, made)
        return torch.load(path, weights_only=True)

    @cached_property
    def embeddings(self) -> dict[str, Tensor]:
        """The speaker embeddings of every utterance, [utterances, 192] a split, made once for this encoder.

        In training, where they take long, those of a variant's first utterances serve the others too.
        """
        path = self.folder / "embeddings.pt"
        if not path.exists() or path.stat().st_mtime < self.checkpoint("campplus").stat().st_mtime:
            network = campplus.Classifier(self.sizes["campplus"])
            network.load_state_dict(self.weights("campplus"))
            encoder = network.encoder.eval()
            corpora = {"train": self.train, **self.held_out}
            found = {}
            for name, corpus in corpora.items():
                source = _embedded_as(corpus, EMBEDDED if name == "train" else len(corpus.utterances))
                needed = sorted(set(source))
                made = campplus.embeddings(encoder, [corpus.utterances[index] for index in needed], corpus)
                found[name] = made[[needed.index(index) for index in source]]
            save(path, found)
        return torch.load(path, weights_only=True)


def _embedded_as(corpus: Corpus, most: int) -> list[int]:
    """For every utterance, which one's embedding it gets: one of the first `most` of its variant."""
    of_variant: dict[int, list[int]] = {}
    source = []
    for index, utterance in enumerate(corpus.utterances):
        alike = of_variant.setdefault(utterance.variant, [])
        alike.append(index)
        source.append(alike[(len(alike) - 1) % most])
    return source


def make_data(work: Workplace, stop: int | None) -> None:
    make_corpus(work.folder / "data", work.per_variant, work.tests)


def train_speech_tokenizer(work: Workplace, stop: int | None) -> None:
    torch.manual_seed(SEED)
    network = Supervised(work.sizes["speech_tokenizer"], len(work.phones))
    stage = TokenizerStage(work.train, work.held_out, work.phones)
    schedule = work.schedule(steps=3000, rate=2e-3)
    train(network, stage.losses, schedule, work.checkpoint("speech_tokenizer"), seed=SEED, check=stage.check, stop=stop)


def language_stage(work: Workplace) -> llm.LanguageStage:
    return llm.LanguageStage(
        work.train, work.held_out, work.tokens, work.recogniser, work.phones, work.sizes["llm"], bistream=0.5
    )


def train_llm(work: Workplace, stop: int | None) -> None:
    torch.manual_seed(SEED)
    stage = language_stage(work)
    network = llm.Taught(work.sizes["llm"], stage.table.codes)
    schedule = work.schedule(steps=12000, rate=3e-3, warmup=200)
    train(network, stage.losses, schedule, work.checkpoint("llm"), seed=SEED, check=stage.check, stop=stop)


def train_campplus(work: Workplace, stop: int | None) -> None:
    torch.manual_seed(SEED)
    network = campplus.Classifier(work.sizes["campplus"])
    stage = campplus.SpeakerStage(work.train, work.held_out)
    schedule = work.schedule(steps=900, rate=3e-3)
    train(network, stage.losses, schedule, work.checkpoint("campplus"), seed=SEED, check=stage.check, stop=stop)


def train_flow_encoder(work: Workplace, stop: int | None) -> None:
    torch.manual_seed(SEED)
    network = flow.new_network(work.sizes["flow"])
    network.decoder.requires_grad_(False)
    network.spk_embed_affine_layer.requires_grad_(False)
    # mu does not see the speaker
    pairs = flow.Pairs(work.train, work.tokens["train"], torch.zeros(len(work.train.utterances), 192))
    stage = flow.EncoderStage(pairs, work.held_out, work.tokens)
    schedule = work.schedule(steps=1600, rate=2e-3)
    train(network, stage.losses, schedule, work.checkpoint("flow_encoder"), seed=SEED, check=stage.check, stop=stop)


def train_flow(work: Workplace, stop: int | None) -> None:
    torch.manual_seed(SEED)
    network = flow.new_network(work.sizes["flow"])
    if not work.checkpoint("flow").exists():
        network.load_state_dict(work.weights("flow_encoder"))
    for module in (network.input_embedding, network.encoder, network.encoder_proj):
        module.requires_grad_(False)
    pairs = flow.Pairs(work.train, work.tokens["train"], work.embeddings["train"])
    stage = flow.FlowStage(pairs, work.held_out, work.tokens, work.embeddings)
    schedule = work.schedule(steps=4500, rate=1e-3)
    train(network, stage.losses, schedule, work.checkpoint("flow"), seed=SEED, check=stage.check, stop=stop)


def train_hift(work: Workplace, stop: int | None) -> None:
    torch.manual_seed(SEED)
    network = hift.new_network(work.sizes["hift"])
    stage = hift.VocoderStage(work.train, work.held_out)
    schedule = work.schedule(steps=8000, rate=2e-3)
    train(network, stage.losses, schedule, work.checkpoint("hift"), seed=SEED, check=stage.check, stop=stop)


#: By name, in order.
STAGES: dict[str, Callable[[Workplace, int | None], None]] = {
    "data": make_data,
    "speech_tokenizer": train_speech_tokenizer,
    "llm": train_llm,
    "campplus": train_campplus,
    "flow_encoder": train_flow_encoder,
    "flow": train_flow,
    "hift": train_hift,
}
