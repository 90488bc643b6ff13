"""Sampling judged apart from log-probabilities: what rounding excuses, and that a sampler's mistakes are found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from converters.convert import convert
from mlx_cosyvoice.config import SamplingConfig
from mlx_cosyvoice.llm import RASSampler, sampling
from mlx_cosyvoice.llm.uniforms import UniformTape
from mlx_parity.compare import Verdict
from mlx_parity.stage import Given
from mlx_parity.tape import Tape
from parity.pair import Pair, load_pair
from parity.run import run
from parity.search import ReferenceCapture
from parity.stages import Outputs, Settings, Sides
from parity.stages.llm import LanguageModel, Sampling, log_prob_noise
from parity.stages.sampler_trials import make_trials
from tests.support.recordings import short_inputs

SAMPLING = Sampling(tuple(dataclasses.asdict(SamplingConfig()).items()), special=3, end=0)
SHORT = Settings(llm_steps=4)


def test_trials_go_where_the_branches_are() -> None:
    trials = make_trials(Tape(0))
    assert len(trials.rows) > 10_000
    counts, repeated, ends = [], 0, 0
    for row, decoded, ignore_eos in zip(trials.log_probs, trials.decoded, trials.ignore_eos, strict=True):
        ids, _ = RASSampler(SamplingConfig(), []).candidates(row)
        counts.append(len(ids))
        repeated += bool(set(decoded[-10:]) & set(ids.tolist()))
        ends += not ignore_eos and len(row) - 3 in ids
    assert min(counts) <= 3  # top_p binds
    assert counts.count(25) > 50  # top_k binds
    assert sum(3 < count < 25 for count in counts) > 100
    assert repeated > 100
    assert ends > 20
    assert 0.4 < np.mean(trials.ignore_eos) < 0.6
    assert np.exp(trials.log_probs.astype(np.float64)).sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_a_sampler_that_takes_more_numbers_than_it_should_finds_none() -> None:
    greedy = mock.patch.object(UniformTape, "take", _takes_four(UniformTape.take))
    with greedy, pytest.raises(ValueError, match="uniforms ran out"):
        make_trials(Tape(0)).tokens(lambda script: RASSampler(SamplingConfig(), script))


def _takes_four(take: Callable[..., list[float]]) -> Callable[..., list[float]]:
    return lambda tape, count: take(tape, count + 3)[3:]


@pytest.fixture(scope="module")
def pair(tiny_checkpoint: Path, tiny_model: Path) -> Pair:
    return load_pair(tiny_checkpoint, tiny_model)


@pytest.fixture(scope="module")
def capture(pair: Pair) -> ReferenceCapture:
    return ReferenceCapture(pair, short_inputs(), stages=["llm"], settings=SHORT)


def _now_and_then(change: Callable[..., Any]) -> Any:
    """The sampler with `change(generator, likeliest ids, log-probabilities, draw)` in 1 % of its draws."""
    original, random = sampling.RASSampler.__call__, np.random.default_rng(11)

    def draw(self: Any, log_probs: Any, decoded: list[int], ignore_eos: bool) -> int:
        scores = np.array(log_probs, np.float64)
        again = lambda changed=scores: original(self, changed, decoded, ignore_eos)  # noqa: E731
        if random.random() >= 0.01:
            return again()
        likely = np.argsort(-scores, kind="stable")[:20]
        return change(random.choice(likely, 2, replace=False), scores, again)

    return mock.patch.object(sampling.RASSampler, "__call__", draw)


def _exchanged_scores(two: np.ndarray, scores: np.ndarray, draw: Callable[..., int]) -> int:
    scores[two] = scores[two[::-1]]
    return draw(scores)


def _exchanged_tokens(two: np.ndarray, scores: np.ndarray, draw: Callable[..., int]) -> int:
    return {int(two[0]): int(two[1]), int(two[1]): int(two[0])}.get(token := draw(), token)


def _forgotten_window(two: np.ndarray, scores: np.ndarray, draw: Callable[..., int]) -> int:
    scores[two[0]] = -np.inf
    return draw(scores)


@pytest.mark.parametrize(
    "change",
    [_exchanged_scores, *(pytest.param(one, marks=pytest.mark.slow) for one in (_exchanged_tokens, _forgotten_window))],
)
def test_a_mistake_in_one_draw_of_a_hundred_is_found(
    pair: Pair, capture: ReferenceCapture, change: Callable[..., int]
) -> None:
    with _now_and_then(change):
        report = capture.localise(pair)
    assert report.verdict is Verdict.DIVERGED
    (culprit,) = report.culprits
    assert culprit.module == "llm"
    assert "output `sampler`" in " ".join(culprit.evidence)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("win_size", 9),
        *(
            pytest.param(*other, marks=pytest.mark.slow)
            for other in (("top_p", 0.79), ("top_k", 24), ("win_size", 11), ("tau_r", 0.2))
        ),
    ],
)
def test_other_settings_of_the_sampler_are_found(
    pair: Pair, capture: ReferenceCapture, field: str, value: float
) -> None:
    llm: Any = pair.model.llm
    other = dataclasses.replace(llm.config, sampling=dataclasses.replace(llm.config.sampling, **{field: value}))
    with mock.patch.object(llm, "config", other):
        assert capture.localise(pair).verdict is Verdict.DIVERGED


# What is excused of the tokens that each side draws from its own log-probabilities.


def _sides(mine: np.ndarray, exact: np.ndarray, noise: float, token: int, right: int) -> Sides:
    """One step. The reference in the working dtype is `noise` nats off everywhere."""

    def outputs(row: np.ndarray, drawn: int) -> Outputs:
        return Outputs({"log_probs": row[None, None]}, {"speech_token": np.array([[drawn]])}, details=SAMPLING)

    return Sides(outputs(mine, token), outputs(exact + noise, right), outputs(exact, right))


def _row(*likely: float) -> np.ndarray:
    """Log-probabilities of 100 ids, of which `likely` are the first; the end of speech is likely too."""
    row = np.full(100, -20.0)
    row[: len(likely)] = likely
    row[97] = -0.5
    return row


def _drawn(row: np.ndarray, u: float, walk: list[int]) -> int:
    return SAMPLING.sampler([u, 0.5])(torch.from_numpy(row), walk, True)


def _excused(mine: np.ndarray, exact: np.ndarray, *, noise: float, u: float = 0.3, token: int | None = None) -> bool:
    drawn = _drawn(mine, u, []) if token is None else token
    right = _drawn(exact, u, [])
    assert drawn != right
    given = Given({"walk": np.array([[right]]), "walk_draws": np.array([[[u, 0.5]]])})
    sides = _sides(mine, exact, noise, drawn, right)
    return bool(LanguageModel().near_ties("speech_token", sides, given, "float32", 8.0)[0, 0])


def test_ids_that_change_places_by_rounding_are_excused() -> None:
    """The draw lies in the middle of its interval; nothing but the ranks is near a tie."""
    assert _excused(_row(-2.0, -2.00001, -2.3), _row(-2.00001, -2.0, -2.3), noise=1e-5, u=0.15)


def test_ids_that_change_places_by_more_than_rounding_are_not() -> None:
    assert not _excused(_row(-2.0, -2.01, -2.3), _row(-2.01, -2.0, -2.3), noise=1e-5, u=0.15)


def test_the_same_exchange_in_the_sampler_is_not_excused() -> None:
    """The log-probabilities are as they should be, so the right sampler would have drawn the other token."""
    exact = _row(-2.0, -2.00001, -2.3)
    assert not _excused(exact, exact, noise=1e-5, u=0.15, token=1)


@pytest.mark.parametrize(("shift", "excused"), [(1e-6, True), (1e-3, False)])
def test_a_draw_on_the_border_of_two_intervals(shift: float, excused: bool) -> None:
    exact = _row(-2.0, -2.0, -2.0)
    mine = exact.copy()
    mine[0] += shift
    border = 1 / 3 + 1e-9
    assert _excused(mine, exact, noise=1e-6, u=border) is excused


def test_a_candidate_at_the_cut() -> None:
    """Whether a fourth id belongs to the nucleus depends on whether the first three reach top_p."""
    probabilities = np.array([0.4, 0.3, 0.1, 0.1, 0.1])
    exact = np.full(100, -40.0)
    exact[:5] = np.log(probabilities)
    in_, out = exact.copy(), exact.copy()
    in_[2] -= 1e-4
    out[2] += 1e-4
    assert _excused(in_, out, noise=1e-4, u=0.95)
    assert not _excused(in_, out, noise=1e-6, u=0.95)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_excused(value: float) -> None:
    exact = _row(-2.0, -2.00001, -2.3)
    mine = exact.copy()
    mine[5] = value
    assert not _excused(mine, exact, noise=1e-5, token=7)


def test_the_noise_is_that_of_the_candidates() -> None:
    exact = _row(-2.0, -2.1, -2.3)
    sides = _sides(exact, exact, 0.0, 0, 0)
    sides.expected.tensors["log_probs"][0, 0, 1] += 0.25
    sides.expected.tensors["log_probs"][0, 0, 50] += 9  # far too unlikely to matter
    assert log_prob_noise(sides, "bfloat16") == pytest.approx(0.25)


# Healthy models whose likeliest ids change places all the time.


@pytest.fixture(scope="module", params=[pytest.param("float16", marks=pytest.mark.slow), "bfloat16, 4 bits"])
def coarse(request: pytest.FixtureRequest, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    dtype, _, packed = request.param.partition(", ")
    out = tmp_path_factory.mktemp("coarse") / "model"
    components = ["llm", "campplus", "speech_tokenizer"]
    convert(tiny_checkpoint, out, dtype=dtype, quantize=4 if packed else None, group_size=32, components=components)
    return load_pair(tiny_checkpoint, out)


@pytest.mark.parametrize("seed", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_healthy_model_is_not_accused(coarse: Pair, seed: int) -> None:
    (stage,) = run(coarse, short_inputs(), stages=["llm"], seed=seed).stages
    assert not [layer for layer in stage.layers + stage.outputs if layer.verdict is not Verdict.PASS]
