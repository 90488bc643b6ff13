"""The loop: it lowers a loss and resumes to the bit. Every stage takes some steps on made-up speech."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reference.nano import campplus, flow, hift, llm
from reference.nano.corpus import ARRAYS, Corpus, Utterance
from reference.nano.sizes import NANO
from reference.nano.speech_tokenizer import Supervised, TokenizerStage, digits, edits, phone_table, quantized
from reference.nano.training import Losses, Schedule, train
from reference.nano.words import WORDS
from reference.speech_tokenizer import codes

UTTERANCES, TOKENS, PHONES = 12, 20, ["w", "ah", "n", "t", "uw"]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    rng = np.random.default_rng(0)
    total = UTTERANCES * TOKENS
    arrays = {
        name: (rng.standard_normal((rows * total, columns)) * (3000 if name == "wave" else 1)).astype(dtype)
        for name, (rows, columns, dtype) in ARRAYS.items()
    }
    said = [
        Utterance(
            ("one", "two"), index % 2, TOKENS * index, TOKENS, ["w", "ah", "n", "t", "uw"], [0.1, 0.2, 0.4, 0.5, 0.7]
        )
        for index in range(UTTERANCES)
    ]
    return Corpus(said, arrays)


@pytest.fixture(scope="module")
def tokens() -> list[Tensor]:
    return [torch.arange(TOKENS) % 7 * 100 + index for index in range(UTTERANCES)]


def noisy_line(network: nn.Module, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
    x = torch.from_numpy(rng.standard_normal((8, 3))).float()
    loss = (network(x)[:, 0] - x.sum(1) + 0.1 * torch.randn(8)).square().mean()
    return {"loss": loss}


def weights(path: Path, stops: list[int | None], losses: Losses = noisy_line) -> dict[str, Tensor]:
    for stop in stops:
        torch.manual_seed(1)
        train(nn.Linear(3, 1), losses, Schedule(steps=12, rate=0.1, warmup=2, report=4), path, seed=5, stop=stop)
    return torch.load(path, weights_only=True)["network"]


def test_a_stopped_training_goes_on_to_the_bit(tmp_path: Path) -> None:
    whole = weights(tmp_path / "whole.pt", [None])
    pieces = weights(tmp_path / "pieces.pt", [5, 9, None])
    assert all(torch.equal(whole[key], pieces[key]) for key in whole)
    assert not torch.equal(weights(tmp_path / "half.pt", [6])["weight"], whole["weight"])
    assert (tmp_path / "whole.png").stat().st_size > 1000


def test_a_gradient_that_is_not_finite_stops_it(tmp_path: Path) -> None:
    def broken(network: nn.Module, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        return {"loss": network(torch.full((1, 3), math.inf)).sum()}

    with pytest.raises(FloatingPointError, match="gradient of step 0 is not finite"):
        weights(tmp_path / "broken.pt", [None], broken)


@pytest.mark.parametrize("stage", ["speech_tokenizer", "llm", "campplus", "flow_encoder", "flow", "hift"])
def test_a_stage_learns(stage: str, corpus: Corpus, tokens: list[Tensor]) -> None:
    torch.manual_seed(0)
    phones, pairs = phone_table(corpus), flow.Pairs(corpus, tokens, torch.randn(UTTERANCES, 192))
    recogniser = Supervised(NANO["speech_tokenizer"], len(phones))
    made: dict[str, tuple[nn.Module, Losses]] = {}
    if stage == "speech_tokenizer":
        made[stage] = recogniser, TokenizerStage(corpus, {}, phones, batch=4).losses
    elif stage == "llm":
        of_llm = llm.LanguageStage(
            corpus, {}, {"train": tokens}, recogniser, phones, NANO["llm"], batch=2, bistream=0.5
        )
        made[stage] = llm.Taught(NANO["llm"], of_llm.table.codes), of_llm.losses
    elif stage == "campplus":
        made[stage] = campplus.Classifier(NANO["campplus"]), campplus.SpeakerStage(corpus, {}, batch=4).losses
    elif stage == "flow_encoder":
        made[stage] = flow.new_network(NANO["flow"]), flow.EncoderStage(pairs, {}, {}, batch=2).losses
    elif stage == "flow":
        made[stage] = flow.new_network(NANO["flow"]), flow.FlowStage(pairs, {}, {}, {}, batch=2).losses
    else:
        made[stage] = hift.new_network(NANO["hift"]), hift.VocoderStage(corpus, {}, batch=1).losses
    network, losses = made[stage]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    found = []
    for _ in range(6):
        torch.manual_seed(2)
        loss = losses(network, np.random.default_rng(4), 0)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert min(found[1:]) < found[0]


def test_bistream_sequences_are_the_official_ones() -> None:
    table = llm.Table(text=10, codes=torch.tensor([3, 8, 9]), speech_token_size=20)
    inputs, targets = llm.sequence([1, 2, 3], [0, 1, 2, 1], table, (2, 3))
    x, ignored = 2 + table.text, llm.IGNORE
    assert inputs == [llm.SOS, 2 + 1, 2 + 2, x + 0, x + 1, x + 2, 2 + 3, llm.TASK, x + 1]
    assert targets == [ignored, ignored, 0, 1, 2, table.fill, ignored, 1, table.eos]
    assert llm.sequence([1], [2, 2], table, None) == (
        [llm.SOS, 3, llm.TASK, x + 2, x + 2],
        [ignored, ignored, 2, 2, table.eos],
    )
    assert table.rows[table.eos] == 20
    assert table.rows[table.fill] == 22


def test_the_words_of_tokens(corpus: Corpus) -> None:
    """In an utterance of 0.8 s "one" ends at 0.4 s, before token 10."""
    now, following = llm.words_said(corpus.utterances[:2])
    one, two = WORDS.index("one"), WORDS.index("two")
    assert now == 2 * ([one] * 10 + [two] * 10)
    assert following == [two] * 10 + [one] * 10 + [two] * 10 + [llm.NO_WORD] * 10


def test_digits_are_those_of_the_codes() -> None:
    before = torch.rand(40, 8) * 2 - 1
    tokens = codes(quantized(before)).long()
    assert torch.equal(digits(tokens), quantized(before))
    assert len(set(tokens.tolist())) > 20


def test_edits() -> None:
    assert [edits("", "abc"), edits("abc", "abc"), edits("axc", "abc"), edits("abcd", "bce")] == [3, 0, 1, 2]
