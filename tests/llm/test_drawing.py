"""Draws as a part of the graph against the reference's sampler: the same tape must give the same tokens."""

from __future__ import annotations

import dataclasses
from itertools import chain, repeat

import mlx.core as mx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.config import SamplingConfig
from mlx_cosyvoice.families.cosyvoice2 import SPEECH_IDS
from mlx_cosyvoice.llm import RASSampler, Sampler, uniforms
from mlx_cosyvoice.llm.drawing import Called, InGraph, drawing
from mlx_cosyvoice.nn import backend
from reference import sampling

CONFIG = SamplingConfig()
#: As near to an edge as this, float32 may fall on the other side of it than float64.
TIE = 2e-6


def margin(
    config: SamplingConfig, scores: np.ndarray, decoded: list[int], ignore_eos: bool, draws: list[float]
) -> float:
    """How near the draw in float64 came to another one: the smallest distance of top_p or a draw to an edge.

    Written from the definition and not from either sampler.
    """
    logits = scores.astype(np.float64)
    if ignore_eos:
        logits[-SPEECH_IDS.count] = -np.inf
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    edges = np.cumsum(probabilities[order])
    distances = [np.abs(edges - config.top_p).min()]
    count = min(int(np.sum(edges - probabilities[order] < config.top_p)), config.top_k)
    nucleus = edges[:count] / edges[count - 1]
    distances.append(np.abs(nucleus - draws[0]).min())
    if len(draws) > 1:
        token = order[int(np.searchsorted(nucleus, draws[0], side="right"))]
        rest = np.where(np.arange(len(logits)) == token, 0, probabilities)[order]
        distances.append(np.abs(np.cumsum(rest) / rest.sum() - draws[1]).min())
    return float(min(distances))


class Twins:
    """The reference's sampler and ours in the graph, with tapes of one seed."""

    def __init__(self, config: SamplingConfig, seed: int, tokens: int) -> None:
        self.tapes = uniforms(seed), uniforms(seed)
        self._reference = sampling.RASSampler(dataclasses.asdict(config), self.tapes[0])
        self._ours = InGraph(RASSampler(config, self.tapes[1]), tokens)

    def expected(self, row: np.ndarray, decoded: list[int], ignore_eos: bool) -> int:
        return self._reference(torch.from_numpy(row), decoded, ignore_eos)

    def drawn(self, row: np.ndarray, ignore_eos: bool) -> int:
        return self._ours.read(self._ours.draw(mx.array(row), ignore_eos))


def assert_same_draws(
    config: SamplingConfig, seed: int, rows: list[np.ndarray], ignore_eos: list[bool], tie: float = TIE
) -> int:
    """Both samplers on one tape, row by row; returns how many tokens were compared before a tie, if there was one."""
    twins = Twins(config, seed, len(rows))
    decoded: list[int] = []
    for index, (row, forbidden) in enumerate(zip(rows, ignore_eos, strict=True)):
        before = twins.tapes[0].position
        try:
            expected = twins.expected(row, decoded, forbidden)
        except ValueError:
            with pytest.raises(ValueError, match="no token can be drawn"):
                twins.drawn(row, forbidden)
            return index
        got = twins.drawn(row, forbidden)
        if (got, twins.tapes[1].position) != (expected, twins.tapes[0].position):
            draws = uniforms(seed).ahead(twins.tapes[0].position)[before:]
            distance = margin(config, row, decoded, forbidden, draws)
            assert distance < tie, (
                f"row {index}: token {got}, by the reference {expected}; the nearest edge is {distance:.2g} away"
            )
            return index
        decoded.append(expected)
    return len(rows)


def rows_of(kind: str, size: int, count: int, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        row = random.normal(size=size).astype(np.float32)
        if kind == "peaked":
            row *= np.float32(40)
        elif kind == "flat":
            row *= np.float32(1e-3)
        elif kind == "equal":
            row[:] = 0.5
        elif kind == "ties":
            row = np.round(row)
        elif kind == "impossible":
            row[random.random(size) < 0.7] = -np.inf
        rows.append(row)
    return rows


KINDS = ["usual", "peaked", "flat", "equal", "ties", "impossible"]


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    size=st.integers(5, 200),
    seed=st.integers(0, 2**20),
    top_p=st.sampled_from([0.05, 0.5, 0.8, 1.0, 1.5]),
    top_k=st.integers(1, 40),
    win_size=st.integers(1, 12),
    tau_r=st.sampled_from([0.0, 0.05, 0.1, 0.3, 2.0]),
    forbidden=st.integers(0, 12),
)
def test_the_graph_draws_what_the_reference_draws(
    kind: str, size: int, seed: int, top_p: float, top_k: int, win_size: int, tau_r: float, forbidden: int
) -> None:
    config = SamplingConfig(top_p=top_p, top_k=top_k, win_size=win_size, tau_r=tau_r)
    assert_same_draws(config, seed, rows_of(kind, size, 12, seed), [index < forbidden for index in range(12)])


@pytest.mark.parametrize("kind", KINDS)
def test_at_full_size_the_draws_are_the_same(kind: str) -> None:
    rows = 6 * 20
    compared = sum(
        assert_same_draws(CONFIG, seed, rows_of(kind, 6564, 20, seed), [step < 10 for step in range(20)])
        for seed in range(6)
    )
    assert compared >= rows * 0.8  # ties that end a comparison are rare


@pytest.mark.parametrize("kind", ["usual", "peaked", "ties"])
def test_repetition_is_avoided_as_by_the_reference(kind: str) -> None:
    """The same row again and again, so that the window decides; both take two draws for most tokens."""
    for seed in range(8):
        row = rows_of(kind, 60, 1, seed)[0]
        assert assert_same_draws(CONFIG, seed, [row] * 40, [True] * 40) == 40


def drawn(config: SamplingConfig, scores: list[float], draws: list[float], tokens: int) -> list[int]:
    ours = InGraph(RASSampler(config, chain(draws, repeat(0.5))), tokens)
    return [ours.read(ours.draw(mx.array(scores), False)) for _ in range(tokens)]


def test_a_token_owns_the_lower_end_of_its_interval() -> None:
    draws = [0.0, 0.25, 0.5, 0.75, float(np.nextafter(np.float32(0.25), np.float32(0))), 1 - 2**-24]
    once = dataclasses.replace(CONFIG, top_p=1.0, tau_r=2.0)  # never too often
    assert drawn(once, [0.0] * 4 + [-np.inf] * 3, draws, 6) == [0, 1, 2, 3, 0, 3]


@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2**-24])
def test_what_has_no_probability_is_never_drawn(u: float) -> None:
    again = dataclasses.replace(CONFIG, tau_r=0.0)  # every token needs a second draw, without the first
    for excluded in range(5):
        scores = [-50.0] * 5 + [-np.inf] * 200
        scores[excluded] = 0.0
        (token,) = drawn(again, scores, [0.0, u], 1)
        others = [other for other in range(5) if other != excluded]
        assert token == {0.0: others[0], 0.5: others[2], 1 - 2**-24: others[3]}[u]


def test_a_token_that_left_the_window_may_come_again() -> None:
    row = np.log(np.array([0.9, 0.02, 0.02, 0.02, 0.02, 0.02], np.float32))
    twins = Twins(dataclasses.replace(CONFIG, win_size=3, tau_r=0.3), 4, 30)
    tokens = [twins.drawn(row, False) for _ in range(30)]
    first = [index for index, token in enumerate(tokens) if token == 0]
    assert np.diff(first).min() == 4  # three others stand between
    assert len(first) >= 5


def test_how_often_is_too_often_is_compared_as_by_the_reference() -> None:
    """100 * 0.07 is 7.000000000000001, so 7 times are not enough; float32 would say 7."""
    row = np.full(6, -50, np.float32)
    row[0] = 0
    for win_size, tau_r in [(100, 0.07), (3, 0.7), (10, 0.3), (3, 1 / 3), (10, 0.1)]:
        config = dataclasses.replace(CONFIG, win_size=win_size, tau_r=tau_r)
        assert assert_same_draws(config, 1, [row] * 12, [False] * 12) == 12


@pytest.mark.parametrize(
    "bad",
    [
        [np.nan] * 6,
        [-np.inf] * 6,
        [0, 0, np.nan, 0, 0, 0],
        [0, 0, -np.nan, 0, 0, 0],  # whose bits are those of the lowest number
        [0, 0, np.inf, 0, 0, 0],
        [-np.inf, -np.inf, -np.inf, 0, -np.inf, -np.inf],  # only the forbidden end of speech
    ],
)
def test_what_cannot_be_drawn_from_is_an_error(bad: list[float]) -> None:
    assert assert_same_draws(CONFIG, 0, [np.array(bad, np.float32)], [True]) == 0
    with pytest.raises(ValueError, match="no token can be drawn"):
        RASSampler.from_key(CONFIG, 0)(mx.array(bad), [], True)


def test_nothing_beside_a_repeated_token_is_an_error() -> None:
    row = np.array([0, -np.inf, -np.inf, -np.inf, -np.inf], np.float32)
    assert assert_same_draws(CONFIG, 0, [row] * 3, [False] * 3) == 1


def test_the_scores_given_are_not_changed() -> None:
    scores = mx.array([0.5, 0.1, 0.2, 0.9, 0.3])
    InGraph(RASSampler.from_key(CONFIG, 0), 1).draw(scores, True)
    assert scores.tolist() == mx.array([0.5, 0.1, 0.2, 0.9, 0.3]).tolist()


def test_only_tokens_that_are_read_wind_the_tape() -> None:
    sampler = RASSampler.from_key(CONFIG, 5)
    rows = rows_of("usual", 50, 4, 0)
    ours = InGraph(sampler, 4)
    drawn = [ours.draw(mx.array(row), False) for row in rows]
    assert sampler.uniforms.position == 0
    first = ours.read(drawn[0])
    assert sampler.uniforms.position == 1
    called = RASSampler.from_key(CONFIG, 5)
    assert first == called(rows[0], [], False)
    # a call goes on where the tape was read to
    assert sampler(rows[1], [first], False) == called(rows[1], [first], False)


def test_draws_that_run_out_are_an_error_at_the_token_that_lacks_them() -> None:
    row = rows_of("usual", 50, 1, 0)[0]
    ours = InGraph(RASSampler(dataclasses.replace(CONFIG, tau_r=2.0), [0.1, 0.9]), 3)
    drawn = [ours.draw(mx.array(row), False) for _ in range(3)]
    assert [ours.read(token) for token in drawn[:2]]
    with pytest.raises(ValueError, match="uniforms ran out"):
        ours.read(drawn[2])


def test_draws_are_the_same_one_by_one_and_ahead() -> None:
    tape, again = uniforms(3), uniforms(3)
    numbers = [next(tape) for _ in range(1000)]
    assert again.ahead(1000) == numbers
    assert again.position == 0
    for start, count in [(0, 0), (0, 256), (255, 2), (256, 256), (700, 1), (300, 612)]:
        again.position = start
        assert again.ahead(count) == numbers[start : start + count]
    again.position = 17
    assert next(again) == numbers[17]


def test_only_a_plain_sampler_draws_in_the_graph_and_not_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class Changed(RASSampler):
        pass

    sampler = RASSampler.from_key(CONFIG, 1)
    assert isinstance(drawing(sampler, 5), Called)
    monkeypatch.setattr(backend, "DEVICE_FORM", True)
    assert isinstance(drawing(sampler, 5), InGraph)
    assert isinstance(drawing(RASSampler(CONFIG, [0.5] * 9), 5), InGraph)
    others: list[Sampler] = [
        Changed.from_key(CONFIG, 1),
        lambda log_probs, decoded, ignore_eos: sampler(log_probs, decoded, False),
    ]
    assert all(isinstance(drawing(other, 5), Called) for other in others)
