"""`Qwen2LM.generate` where there is a device beside the host: the same tokens, and never a wait but for a token's id.

The CPU plays the device: MLX's plain forms run on it too.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_cosyvoice.llm import Qwen2LM, RASSampler
from mlx_cosyvoice.llm.drawing import InGraph
from mlx_cosyvoice.nn import backend, load_official
from mlx_cosyvoice.speech.ahead import RunAhead
from tests.support import llm as support_llm

PROMPT: tuple[list[int], list[int], list[int]] = ([9, 8, 7, 500], [1, 2, 3], [4, 5])
SEEDS = range(8)


@pytest.fixture(scope="module")
def model() -> Qwen2LM:
    """Ends its speech after some tokens, and repeats itself, so that many a token needs two draws."""
    model = load_official(Qwen2LM(support_llm.config("tiny")), support_llm.state_dict("tiny"), "llm.pt")
    bias = np.array(model.llm_decoder.bias)
    bias[support_llm.EOS] += 6
    bias[[17, 99]] += 9
    model.llm_decoder.bias = mx.array(bias)
    return model


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "DEVICE_FORM", True)


class CalledSampler(RASSampler):
    """Called wherever the model runs, as every sampler of another type is."""


def make(model: Qwen2LM, seed: int, kind: type[RASSampler] = RASSampler) -> RASSampler:
    return kind.from_key(model.config.sampling, seed)


def position(sampler: RASSampler) -> int:
    return sampler.uniforms.position


def note_calls(patch: pytest.MonkeyPatch) -> list[str]:
    """What the loop does, in its order."""
    log: list[str] = []
    draw, read, start = InGraph.draw, InGraph.read, mx.async_eval

    def noted(name: str, function: Any) -> Any:
        def call(*args: Any) -> Any:
            log.append(name)
            return function(*args)

        return call

    patch.setattr(InGraph, "draw", noted("draw", draw))
    patch.setattr(InGraph, "read", noted("read", read))
    patch.setattr(mx, "async_eval", noted("start", start))
    return log


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ratios", [(2, 20), (0, 5), (3, 3), (0, 20)])
def test_the_same_tokens_as_by_calls(
    model: Qwen2LM, seed: int, ratios: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = note_calls(monkeypatch)
    limits: dict[str, Any] = {"min_token_text_ratio": ratios[0], "max_token_text_ratio": ratios[1]}
    host, ours = make(model, seed, CalledSampler), make(model, seed)
    expected = list(model.generate(*PROMPT, host, **limits))
    assert not log
    assert list(model.generate(*PROMPT, ours, **limits)) == expected
    assert log
    assert position(ours) == position(host)


def test_the_cases_end_by_the_models_will_and_by_the_limit_and_take_second_draws(model: Qwen2LM) -> None:
    """The test above would prove little if they did not."""
    lengths, second_draws = [], 0
    for seed in SEEDS:
        sampler = make(model, seed)
        lengths.append(len(list(model.generate(*PROMPT, sampler, min_token_text_ratio=0, max_token_text_ratio=5))))
        second_draws += position(sampler) - lengths[-1]
    assert min(lengths) < 20
    assert max(lengths) == 20
    assert second_draws > 20


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_tokens_as_on_the_cpu(model: Qwen2LM, seed: int, request: pytest.FixtureRequest) -> None:
    expected = list(model.generate(*PROMPT, make(model, seed)))
    request.getfixturevalue("device")
    assert list(model.generate(*PROMPT, make(model, seed))) == expected


def test_on_the_cpu_the_sampler_is_called(model: Qwen2LM, monkeypatch: pytest.MonkeyPatch) -> None:
    log = note_calls(monkeypatch)
    list(model.generate(*PROMPT, make(model, 1)))
    assert not log


@pytest.mark.usefixtures("device")
def test_a_prefix_gives_the_same_tokens_and_is_not_changed(model: Qwen2LM) -> None:
    prefix = model.prefill_prefix(PROMPT[1])
    before = [np.array(array) for array in prefix.arrays()]
    for seed in SEEDS:
        expected = list(model.generate(*PROMPT, make(model, seed)))
        assert list(model.generate(*PROMPT, make(model, seed), prefix=prefix)) == expected
    assert prefix.offset == 1 + len(PROMPT[1])
    for old, new in zip(before, prefix.arrays(), strict=True):
        assert np.array_equal(old, np.array(new))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("count", [0, 1, 5, 19])
def test_a_sampler_goes_on_where_a_cancelled_run_was_read_to(model: Qwen2LM, count: int) -> None:
    host, ours = make(model, 3, CalledSampler), make(model, 3)
    for sampler in (host, ours):
        stream = model.generate(*PROMPT, sampler, min_token_text_ratio=9)
        assert len(list(islice(stream, count))) == count
        stream.close()  # type: ignore[attr-defined]
    assert position(ours) == position(host)
    again = list(model.generate(*PROMPT, ours))
    assert again == list(model.generate(*PROMPT, host))
    assert position(ours) == position(host)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("text", [[1], [1, 2]])
def test_no_token_and_one_token(model: Qwen2LM, text: list[int]) -> None:
    assert list(model.generate(text, [], [], make(model, 0), min_token_text_ratio=0, max_token_text_ratio=0)) == []
    one = model.generate([1], [], [], make(model, 0), min_token_text_ratio=1, max_token_text_ratio=1)
    host = model.generate([1], [], [], make(model, 0, CalledSampler), min_token_text_ratio=1, max_token_text_ratio=1)
    assert list(one) == list(host)


@pytest.mark.usefixtures("device")
def test_a_token_is_read_when_the_next_step_is_under_way(model: Qwen2LM, monkeypatch: pytest.MonkeyPatch) -> None:
    log = note_calls(monkeypatch)
    tokens = list(model.generate(*PROMPT, make(model, 2), min_token_text_ratio=3, max_token_text_ratio=3))
    assert len(tokens) == 12
    assert log == ["draw", "start"] + ["draw", "start", "read"] * 11 + ["read"]


@pytest.mark.usefixtures("device")
def test_at_the_end_of_speech_one_step_is_in_vain(model: Qwen2LM, monkeypatch: pytest.MonkeyPatch) -> None:
    model_limit = 20 * len(PROMPT[0])
    for seed in SEEDS:
        with monkeypatch.context() as patch:
            log = note_calls(patch)
            tokens = list(model.generate(*PROMPT, make(model, seed), min_token_text_ratio=0))
        assert len(tokens) < model_limit - 1
        assert log.count("read") == len(tokens) + 1
        assert log.count("draw") == len(tokens) + 2


@pytest.mark.usefixtures("device")
def test_nothing_but_the_reading_of_a_token_waits_for_the_device(
    model: Qwen2LM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While MLX traces a function it refuses to evaluate anything, so the whole loop is run in one."""
    prefix = model.prefill_prefix(PROMPT[1])
    sampler = make(model, 0)
    monkeypatch.setattr(mx, "async_eval", lambda *arrays: None)  # refused too, but does not wait

    def loop(scale: mx.array) -> mx.array:
        model.speech_embedding.weight = weight * scale  # so that every step is part of what is traced
        tokens = model.generate(*PROMPT, sampler, prefix=prefix, min_token_text_ratio=2, max_token_text_ratio=3)
        assert list(tokens) == [5] * 12
        return scale

    weight = model.speech_embedding.weight
    try:
        with pytest.raises(ValueError, match="eval"):
            mx.compile(loop)(mx.array(1.0))
        monkeypatch.setattr(InGraph, "read", lambda self, drawn: 5)
        mx.compile(loop)(mx.array(1.0))
    finally:
        model.speech_embedding.weight = weight


@pytest.mark.usefixtures("device")
def test_nothing_to_draw_is_an_error_at_its_token(model: Qwen2LM, monkeypatch: pytest.MonkeyPatch) -> None:
    step, calls = Qwen2LM.step, 0

    def broken(self: Qwen2LM, *args: Any) -> mx.array:
        nonlocal calls
        calls += 1
        return step(self, *args) * (mx.nan if calls == 4 else 1)

    monkeypatch.setattr(Qwen2LM, "step", broken)
    stream = model.generate(*PROMPT, make(model, 0), min_token_text_ratio=9)
    assert len(list(islice(stream, 3))) == 3
    with pytest.raises(ValueError, match="no token can be drawn"):
        next(stream)


@pytest.mark.usefixtures("device")
def test_in_half_precision(model: Qwen2LM) -> None:
    half = load_official(Qwen2LM(support_llm.config("tiny")), support_llm.state_dict("tiny"), "llm.pt")
    half.set_dtype(mx.float16)
    for seed in range(3):
        expected = list(islice(half.generate(*PROMPT, make(half, seed, CalledSampler)), 12))
        assert list(islice(half.generate(*PROMPT, make(half, seed)), 12)) == expected


@pytest.mark.usefixtures("device")
def test_a_thread_that_runs_ahead_can_be_stopped_amid_a_step(model: Qwen2LM) -> None:
    for _ in range(3):
        ahead = RunAhead(lambda: [model.generate(*PROMPT, make(model, 1), min_token_text_ratio=15)])
        tokens = next(ahead.utterances())
        assert len(list(islice(tokens, 2))) == 2
        ahead.close()
        ahead._thread.join(10)
        assert not ahead._thread.is_alive()
    expected = list(model.generate(*PROMPT, make(model, 1, CalledSampler)))
    ahead = RunAhead(lambda: [model.generate(*PROMPT, make(model, 1))])
    assert [list(tokens) for tokens in ahead.utterances()] == [expected]
