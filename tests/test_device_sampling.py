"""Sampling as a part of the graph against sampling on the host: the same tape must give the same tokens."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.config import SamplingConfig
from mlx_cosyvoice.llm import RASSampler, uniforms
from mlx_cosyvoice.llm.device_sampling import DeviceSampler, on_device
from mlx_cosyvoice.llm.sampling import SPECIAL_TOKENS, UniformTape
from mlx_cosyvoice.nn import backend

CONFIG = SamplingConfig()
#: As near to an edge as this, float32 may fall on the other side of it than the host's float64.
TIE = 2e-6


def margin(config: SamplingConfig, scores: np.ndarray, decoded: list[int], ignore_eos: bool, draws: mx.array) -> float:
    """How near the host's draw came to another one: the smallest distance of top_p or a draw to an edge it is held to.

    Written from the definition and not from either sampler.
    """
    logits = scores.astype(np.float64)
    if ignore_eos:
        logits[-SPECIAL_TOKENS] = -np.inf
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    edges = np.cumsum(probabilities[order])
    distances = [np.abs(edges - config.top_p).min()]
    count = min(int(np.sum(edges - probabilities[order] < config.top_p)), config.top_k)
    nucleus = edges[:count] / edges[count - 1]
    distances.append(np.abs(nucleus - float(draws[0])).min())
    if len(draws) > 1:
        token = order[int(np.searchsorted(nucleus, float(draws[0]), side="right"))]
        rest = np.where(np.arange(len(logits)) == token, 0, probabilities)[order]
        distances.append(np.abs(np.cumsum(rest) / rest.sum() - float(draws[1])).min())
    return float(min(distances))


def assert_same_draws(
    config: SamplingConfig, seed: int, rows: list[np.ndarray], ignore_eos: list[bool], tie: float = TIE
) -> int:
    """Both samplers on one tape, row by row; returns how many tokens were compared before a tie, if there was one."""
    tape = uniforms(seed)
    host, device = RASSampler(config, uniforms(seed)), DeviceSampler(config, tape, len(rows))
    decoded: list[int] = []
    for index, (row, forbidden) in enumerate(zip(rows, ignore_eos, strict=True)):
        before = tape.position
        try:
            expected = host(mx.array(row), decoded, forbidden)
        except ValueError as error:
            with pytest.raises(ValueError, match=str(error)):
                device.read(device.draw(mx.array(row), forbidden))
            return index
        got = device.read(device.draw(mx.array(row), forbidden))
        assert isinstance(host.uniforms, type(tape))
        if (got, tape.position) != (expected, host.uniforms.position):
            draws = uniforms(seed).ahead(before + 2)[before : host.uniforms.position]
            distance = margin(config, row, decoded, forbidden, draws)
            assert distance < tie, (
                f"row {index}: token {got}, on the host {expected}; the nearest edge is {distance:.2g} away"
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
def test_the_device_draws_what_the_host_draws(
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
def test_repetition_is_avoided_as_on_the_host(kind: str) -> None:
    """The same row again and again, so that the window decides; both take two draws for most tokens."""
    for seed in range(8):
        row = rows_of(kind, 60, 1, seed)[0]
        assert assert_same_draws(CONFIG, seed, [row] * 40, [True] * 40) == 40


class Draws(UniformTape):
    """Such as are given, and not of a key."""

    def __init__(self, numbers: list[float]) -> None:
        super().__init__(mx.random.key(0))
        self.numbers = numbers

    def ahead(self, count: int) -> mx.array:
        return mx.array((self.numbers + [0.5] * count)[:count])


def drawn(config: SamplingConfig, scores: list[float], draws: list[float], tokens: int) -> list[int]:
    device = DeviceSampler(config, Draws(draws), tokens)
    return [device.read(device.draw(mx.array(scores), False)) for _ in range(tokens)]


def test_a_token_owns_the_lower_end_of_its_interval() -> None:
    draws = [0.0, 0.25, 0.5, 0.75, float(np.nextafter(np.float32(0.25), np.float32(0))), 1 - 2**-24]
    once = dataclasses.replace(CONFIG, top_p=1.0, tau_r=2.0)  # never too often
    assert drawn(once, [0.0] * 4 + [-np.inf] * 3, draws, 6) == [0, 1, 2, 3, 0, 3]


@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2**-24])
def test_what_has_no_probability_is_never_drawn(u: float) -> None:
    again = dataclasses.replace(CONFIG, tau_r=0.0)  # every token takes a second draw, without the first
    for excluded in range(5):
        scores = [-50.0] * 5 + [-np.inf] * 200
        scores[excluded] = 0.0
        (token,) = drawn(again, scores, [0.0, u], 1)
        others = [other for other in range(5) if other != excluded]
        assert token == {0.0: others[0], 0.5: others[2], 1 - 2**-24: others[3]}[u]


def test_a_token_that_left_the_window_may_come_again() -> None:
    row = np.log(np.array([0.9, 0.02, 0.02, 0.02, 0.02, 0.02], np.float32))
    device = DeviceSampler(dataclasses.replace(CONFIG, win_size=3, tau_r=0.3), uniforms(4), 30)
    tokens = [device.read(device.draw(mx.array(row), False)) for _ in range(30)]
    first = [index for index, token in enumerate(tokens) if token == 0]
    assert np.diff(first).min() == 4  # three others stand between
    assert len(first) >= 5


def test_how_often_is_too_often_is_compared_as_on_the_host() -> None:
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
        [0, 0, np.inf, 0, 0, 0],
        [-np.inf, -np.inf, -np.inf, 0, -np.inf, -np.inf],  # only the forbidden end of speech
    ],
)
def test_what_cannot_be_drawn_from_is_the_hosts_error(bad: list[float]) -> None:
    assert assert_same_draws(CONFIG, 0, [np.array(bad, np.float32)], [True]) == 0
    device = DeviceSampler(CONFIG, uniforms(0), 1)
    with pytest.raises(ValueError, match="no token can be drawn"):
        device.read(device.draw(mx.array(bad), True))


def test_nothing_beside_a_repeated_token_is_an_error() -> None:
    row = np.array([0, -np.inf, -np.inf, -np.inf, -np.inf], np.float32)
    assert assert_same_draws(CONFIG, 0, [row] * 3, [False] * 3) == 1


def test_the_scores_given_are_not_changed() -> None:
    scores = mx.array([0.5, 0.1, 0.2, 0.9, 0.3])
    DeviceSampler(CONFIG, uniforms(0), 1).draw(scores, True)
    assert scores.tolist() == mx.array([0.5, 0.1, 0.2, 0.9, 0.3]).tolist()


def test_only_tokens_that_are_read_wind_the_tape() -> None:
    tape = uniforms(5)
    rows = rows_of("usual", 50, 4, 0)
    device = DeviceSampler(CONFIG, tape, 4)
    drawn = [device.draw(mx.array(row), False) for row in rows]
    assert tape.position == 0
    first = device.read(drawn[0])
    assert tape.position == 1
    host = RASSampler(CONFIG, uniforms(5))
    assert first == host(rows[0], [], False)
    # the tape goes on on the host from where it was read to
    assert RASSampler(CONFIG, tape)(rows[1], [first], False) == host(rows[1], [first], False)


def test_draws_are_the_same_one_by_one_and_ahead() -> None:
    tape, again = uniforms(3), uniforms(3)
    numbers = [next(tape) for _ in range(1000)]
    assert again.ahead(1000).tolist() == numbers
    assert again.position == 0
    for start, count in [(0, 0), (0, 256), (255, 2), (256, 256), (700, 1), (300, 612)]:
        again.position = start
        assert again.ahead(count).tolist() == numbers[start : start + count]
    again.position = 17
    assert next(again) == numbers[17]


def test_only_a_plain_sampler_with_a_tape_of_a_key_runs_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class Changed(RASSampler):
        pass

    sampler = RASSampler.from_key(CONFIG, 1)
    assert on_device(sampler, 5) is None  # the CPU
    monkeypatch.setattr(backend, "DEVICE_FORM", True)
    assert isinstance(on_device(sampler, 5), DeviceSampler)
    assert isinstance(on_device(RASSampler(CONFIG, uniforms(1)), 5), DeviceSampler)
    others = [
        RASSampler(CONFIG, [0.5] * 9),
        Changed.from_key(CONFIG, 1),
        lambda log_probs, decoded, ignore_eos: sampler(log_probs, decoded, ignore_eos),
    ]
    assert [on_device(other, 5) for other in others] == [None] * 3
