"""Repetition-aware sampling, on both sides."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.config import SamplingConfig
from mlx_cosyvoice.llm import RASSampler, uniforms
from reference import sampling
from reference.synthetic import recipe
from tests.support.golden import golden

CONFIG = SamplingConfig()
Make = Callable[..., Any]


def ours(config: SamplingConfig, draws: Any) -> Callable[[np.ndarray, list[int], bool], int]:
    sampler = RASSampler(config, draws)
    return lambda scores, decoded, ignore_eos: sampler(mx.array(scores), decoded, ignore_eos)


def theirs(config: SamplingConfig, draws: Any) -> Callable[[np.ndarray, list[int], bool], int]:
    sampler = sampling.RASSampler(dataclasses.asdict(config), draws)
    return lambda scores, decoded, ignore_eos: sampler(torch.from_numpy(scores), decoded, ignore_eos)


both = pytest.mark.parametrize("make", [ours, theirs])


def scores_of(*probabilities: float) -> np.ndarray:
    """Log-probabilities of a small vocabulary; its last three ids are special."""
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities, np.float32))


def golden_logits(case: int) -> np.ndarray:
    temperature = (0.3, 1.0, 3.0)[case]
    raw = recipe.uniform(f"input/logits{case}", (6564,)).astype(np.float64) ** 9
    return raw.astype(np.float32) * np.float32(20 / temperature)


@pytest.mark.parametrize("case", [0, 1, 2])
@pytest.mark.parametrize("side", ["mlx", "reference"])
def test_candidates_equal_the_official_ones(case: int, side: str) -> None:
    logits = golden_logits(case)
    if side == "mlx":
        ids, probs = RASSampler(CONFIG, []).candidates(mx.array(logits))
    else:
        sampler = sampling.RASSampler(dataclasses.asdict(CONFIG), [])
        ids, probs = (tensor.numpy() for tensor in sampler.candidates(torch.from_numpy(logits)))
    assert ids.tolist() == golden("sampler")[f"sampler/{case}/ids"].tolist()
    np.testing.assert_allclose(probs, golden("sampler")[f"sampler/{case}/probs"], atol=1e-6)


@both
def test_nucleus_draws_follow_the_candidates_probabilities(make: Make) -> None:
    """An even grid of u gives every candidate its probability, and nothing else is drawn."""
    grid = (np.arange(4000) + 0.5) / 4000
    sampler = make(CONFIG, grid)
    counts = Counter(sampler(scores_of(0.1, 0.5, 0.25, 0.1, 0.04, 0.01), [], False) for _ in grid)
    assert set(counts) == {0, 1, 2}  # 0.5 + 0.25 < 0.8, with 0.1 no more; of the two equal ones the lower id
    for token, probability in ((1, 0.5), (2, 0.25), (0, 0.1)):
        assert abs(counts[token] / 4000 - probability / 0.85) < 1e-3


@both
def test_a_token_owns_the_lower_end_of_its_interval(make: Make) -> None:
    sampler = make(CONFIG, [0.0, 0.25, 0.5, 0.75, np.nextafter(0.25, 0)])
    scores = scores_of(0.25, 0.25, 0.25, 0.25, 0, 0)
    assert [sampler(scores, [], False) for _ in range(5)] == [0, 1, 2, 3, 0]


@both
def test_top_k_limits_the_nucleus(make: Make) -> None:
    sampler = make(dataclasses.replace(CONFIG, top_k=2), (np.arange(100) + 0.5) / 100)
    assert {sampler(scores_of(0.2, 0.2, 0.3, 0.1, 0.1, 0.1), [], False) for _ in range(100)} == {0, 2}


@both
def test_a_repeated_token_is_excluded_and_the_whole_distribution_drawn_from(make: Make) -> None:
    scores = scores_of(0.9, 0.05, 0.02, 0.01, 0.01, 0.01)
    grid = (np.arange(1000) + 0.5) / 1000
    draws = np.stack([np.full(1000, 0.3), grid], axis=1).ravel()
    sampler = make(CONFIG, draws)
    counts = Counter(sampler(scores, [0], False) for _ in grid)
    assert set(counts) == {1, 2, 3, 4, 5}
    assert abs(counts[1] / 1000 - 0.5) < 2e-3


@both
def test_the_window_is_the_last_win_size_tokens(make: Make) -> None:
    scores = scores_of(0.9, 0.05, 0.02, 0.01, 0.01, 0.01)
    sampler = make(CONFIG, [0.3] * 3)
    assert sampler(scores, [0] + [5] * 10, False) == 0
    assert sampler(scores, [0] + [5] * 9, False) != 0


@both
def test_tau_r_sets_how_often_a_token_may_stand_in_the_window(make: Make) -> None:
    scores = scores_of(0.9, 0.05, 0.02, 0.01, 0.01, 0.01)
    sampler = make(dataclasses.replace(CONFIG, tau_r=0.2), [0.3] * 3)
    assert sampler(scores, [0], False) == 0
    assert sampler(scores, [0, 0], False) != 0


@both
def test_all_mass_on_one_token(make: Make) -> None:
    scores = np.full(9, -200.0, np.float32)
    scores[4] = 0
    assert make(CONFIG, [0.999999])(scores, [], False) == 4
    assert make(CONFIG, [0.5, 0.0])(scores, [4], False) == 0  # the rest is equal, the lowest id comes first


@both
def test_end_of_speech_is_not_drawn_while_forbidden(make: Make) -> None:
    scores = scores_of(0.05, 0.02, 0.03, 0.88, 0.01, 0.01)  # id 3 ends the speech
    assert make(CONFIG, [0.1])(scores, [], False) == 3
    grid = (np.arange(200) + 0.5) / 200
    sampler = make(CONFIG, grid)
    assert 3 not in {sampler(scores, [], True) for _ in grid}
    # nor by the second draw, which is over the whole distribution
    sampler = make(CONFIG, np.stack([np.zeros(200), grid], axis=1).ravel())
    drawn = {sampler(scores, [0], True) for _ in grid}
    assert drawn == {1, 2, 4, 5}  # the other special ids stay possible, as upstream


@both
def test_the_scores_given_are_not_changed(make: Make) -> None:
    scores = scores_of(0.9, 0.05, 0.02, 0.01, 0.01, 0.01)
    before = scores.copy()
    make(CONFIG, [0.5, 0.5])(scores, [0], True)
    np.testing.assert_array_equal(scores, before)


@both
def test_impossible_distributions_and_short_tapes_are_errors(make: Make) -> None:
    with pytest.raises(ValueError, match="uniforms ran out"):
        make(CONFIG, [])(scores_of(0.5, 0.5, 0, 0, 0, 0), [], False)
    with pytest.raises(ValueError, match="log-probabilities"):
        make(CONFIG, [0.5])(np.full(6, np.nan, np.float32), [], False)
    with pytest.raises(ValueError, match="log-probabilities"):
        make(CONFIG, [0.5, 0.5])(scores_of(1, 0, 0, 0, 0, 0), [0], False)


@pytest.mark.parametrize("change", [{"top_p": 0.0}, {"top_k": 0}, {"win_size": 0}])
def test_settings_that_leave_nothing_to_draw_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"sampling.{next(iter(change))}"):
        RASSampler(dataclasses.replace(CONFIG, **change), [])


def test_draws_outside_the_unit_interval_are_refused() -> None:
    with pytest.raises(ValueError, match=r"uniforms gave 1\.0"):
        RASSampler(CONFIG, [1.0])(np.zeros(6), [], False)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    size=st.integers(4, 300),
    spread=st.sampled_from([0.1, 1.0, 5.0, 40.0]),
    coarse=st.booleans(),
    decoded=st.lists(st.integers(0, 20), max_size=15),
    ignore_eos=st.booleans(),
)
def test_both_sides_draw_the_same_tokens(
    seed: int, size: int, spread: float, coarse: bool, decoded: list[int], ignore_eos: bool
) -> None:
    scores = np.random.default_rng(seed).normal(size=size).astype(np.float32) * np.float32(spread)
    scores = np.round(scores) if coarse else scores  # rounded ones have ties
    tape = list(islice(sampling.uniforms(seed), 8))
    mlx, torch_ = ours(CONFIG, tape), theirs(CONFIG, tape)
    for _ in range(4):
        token = mlx(scores, decoded, ignore_eos)
        assert token == torch_(scores, decoded, ignore_eos)
        assert 0 <= token < size
        assert not (ignore_eos and token == size - 3)
        decoded = [*decoded, token]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**20), top_p=st.floats(0.05, 1.0), top_k=st.integers(1, 40))
def test_the_nucleus_is_the_smallest_head_that_reaches_top_p(seed: int, top_p: float, top_k: int) -> None:
    logits = np.random.default_rng(seed).normal(size=60) * 2
    ids, probs = RASSampler(SamplingConfig(top_p=top_p, top_k=top_k), []).candidates(logits)
    whole = np.exp(logits) / np.exp(logits).sum()
    assert 1 <= len(ids) <= top_k
    assert len(set(ids.tolist())) == len(ids)
    assert (np.diff(probs) <= 0).all()
    assert abs(probs.sum() - 1) < 1e-12
    assert set(ids.tolist()) == set(np.argsort(-whole)[: len(ids)].tolist())
    assert whole[ids[:-1]].sum() < top_p + 1e-9
    assert len(ids) == top_k or whole[ids].sum() > top_p - 1e-9


def test_uniforms_come_from_a_seed_or_a_key() -> None:
    draws = list(islice(uniforms(7), 1000))
    assert draws == list(islice(uniforms(mx.random.key(7)), 1000))
    assert draws != list(islice(uniforms(8), 1000))
    assert len(set(draws)) > 990
    assert 0 <= min(draws) < max(draws) < 1
    assert abs(np.mean(draws) - 0.5) < 0.03
    assert list(islice(sampling.uniforms(7), 5)) == list(islice(sampling.uniforms(7), 5))
