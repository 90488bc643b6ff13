"""The MLX language model against numbers made by the official code, and what a user can expect of it."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import NamedTuple

import mlx.core as mx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.llm import KVCache, Qwen2LM, RASSampler, uniforms
from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.nn.official import OfficialKeyError, audit_keys
from mlx_parity.taps import tap
from parity.sides.mlx import MLXSide
from reference import llm as reference_llm
from tests.support import llm as support_llm
from tests.support.golden import ProbeRecorder, as_torch, assert_close, assert_probes, golden

SIZES = ["tiny", pytest.param("full", marks=pytest.mark.slow)]
LM_HEAD = "llm.llm.model.lm_head"


def load(size: str, dtype: mx.Dtype = mx.float32) -> Qwen2LM:
    model = load_official(Qwen2LM(support_llm.config(size)), support_llm.state_dict(size), "llm.pt")
    if dtype != mx.float32:
        model.set_dtype(dtype)
    return model


@cache
def tiny() -> Qwen2LM:
    return load("tiny")


def prompt(model: Qwen2LM, size: str = "tiny") -> mx.array:
    return model.prompt(support_llm.text(size), support_llm.prompt_text(size), support_llm.prompt_speech())


class Walk(NamedTuple):
    size: str
    log_probs: np.ndarray
    tokens: list[int]
    probes: ProbeRecorder


def run_walk(model: Qwen2LM, size: str) -> Walk:
    probes = ProbeRecorder(golden(f"llm.{size}").shapes)
    embed, norms = model.llm.model.model.embed_tokens, []

    def sink(path: str, call: int, output: np.ndarray) -> None:
        probes(path, call, output)
        if path == "llm.llm.model.model.norm":
            norms.append(output)

    x, cache = prompt(model, size), model.make_cache()
    rows, tokens = [], []
    for step in range(support_llm.STEPS):
        if step == 0:
            with tap(MLXSide(model), sink, prefix="llm."):
                log_probs = model.step(x, cache)
        else:
            log_probs = model.step(x, cache)
        assert log_probs.shape == (1, 6564)
        assert log_probs.dtype == mx.float32
        rows.append(np.array(log_probs[0]))
        tokens.append(support_llm.walk(rows[-1], step))
        x = model.embed_speech(tokens[-1:])
    # MLX has no text head; what it would say is the tied embedding applied to the normed states
    probes(LM_HEAD, 0, np.array(embed.as_linear(mx.array(norms[0]))))
    return Walk(size, np.stack(rows), tokens, probes)


@pytest.fixture(scope="module", params=SIZES)
def walk(request: pytest.FixtureRequest) -> Iterator[Walk]:
    model = load(request.param)
    yield run_walk(model, request.param)
    del model
    gc.collect()
    mx.clear_cache()


def test_log_probabilities_and_tokens(walk: Walk) -> None:
    error = support_llm.assert_walk(walk.log_probs, walk.tokens, walk.size, max_abs=5e-3)
    print(f"{walk.size}: max abs {error:.3g}")


def test_probes(walk: Walk) -> None:
    assert_probes(walk.probes, golden(f"llm.{walk.size}"), 5e-3)


def test_text_head_is_declared_unused_and_every_other_key_is_used() -> None:
    audit = audit_keys(tiny(), set(support_llm.state_dict("tiny")), "llm.pt")
    assert list(audit.unused) == [support_llm.LM_HEAD]
    assert "text logits" in audit.unused[support_llm.LM_HEAD]
    assert len(audit.used) == len(support_llm.state_dict("tiny")) - 1


def test_missing_key_is_named() -> None:
    keys = set(support_llm.state_dict("tiny")) - {"llm.model.model.layers.1.mlp.up_proj.weight"}
    with pytest.raises(OfficialKeyError, match=r"missing: llm\.model\.model\.layers\.1\.mlp\.up_proj\.weight"):
        audit_keys(tiny(), keys, "llm.pt")


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_is_finite_and_near(dtype: mx.Dtype) -> None:
    model = load("tiny", dtype)
    x, cache = prompt(model), model.make_cache()
    assert x.dtype == dtype
    log_probs = model.step(x, cache)
    assert log_probs.dtype == mx.float32
    assert np.isfinite(np.array(log_probs)).all()
    assert model.llm(x, model.make_cache()).dtype == dtype
    expected = tiny().step(prompt(tiny()), tiny().make_cache())
    assert np.corrcoef(np.array(log_probs[0]), np.array(expected[0]))[0, 1] > 0.99
    sampler = RASSampler(model.config.sampling, uniforms(3))
    tokens = list(islice(model.generate([5, 6, 7], [], [], sampler), 5))
    assert all(0 <= token < 6561 for token in tokens)


@pytest.mark.parametrize("speech", [0, 4, 17])
def test_bistream_tokens(speech: int) -> None:
    tokens = tiny().generate_bistream(
        iter(support_llm.text("tiny")),
        support_llm.prompt_text("tiny"),
        support_llm.prompt_speech()[:speech],
        support_llm.pick,
    )
    assert list(tokens) == golden("llm.bistream")[f"bistream/prompt_speech={speech}"].tolist()


@cache
def reference() -> reference_llm.Qwen2LM:
    model = reference_llm.build(dataclasses.asdict(support_llm.config("tiny")))
    model.load_state_dict(as_torch(support_llm.state_dict("tiny")), strict=True)
    return model


@settings(max_examples=8, deadline=None)
@given(
    text=st.lists(st.integers(0, 999), min_size=1, max_size=16),
    prompt_text=st.lists(st.integers(0, 999), max_size=12),
    prompt_speech=st.lists(st.integers(0, 6560), max_size=36),
    fills=st.sets(st.integers(0, 40), max_size=5),
)
def test_bistream_equals_the_reference_for_any_lengths(
    text: list[int], prompt_text: list[int], prompt_speech: list[int], fills: set[int]
) -> None:
    """The sampler asks for text at odd places too, and ends the speech at most 10 tokens after it may."""

    def sampler(log_probs: object, decoded: list[int], ignore_eos: bool) -> int:
        if ignore_eos and len(decoded) in fills:
            return support_llm.FILL
        if not ignore_eos and len(decoded) % 10 == 9:
            return support_llm.EOS
        return support_llm.walk(np.asarray(log_probs), len(decoded))

    def row(ids: list[int]) -> torch.Tensor:
        return torch.tensor([ids], dtype=torch.int64)

    chunks = [row([token]) for token in text]
    expected = reference().generate_bistream(chunks, row(prompt_text), row(prompt_speech), sampler)
    got = tiny().generate_bistream(text, prompt_text, prompt_speech, sampler)
    assert list(got) == list(expected)


def test_bistream_speaks_before_the_text_is_complete() -> None:
    arrived = 0

    def text() -> Iterator[int]:
        nonlocal arrived
        for token in support_llm.text("tiny"):
            arrived += 1
            yield token

    next(tiny().generate_bistream(text(), support_llm.prompt_text("tiny"), [], support_llm.pick))
    assert arrived == 1


@pytest.mark.parametrize(("token", "ignore_eos"), [(6562, True), (6561, True), (6562, False), (6563, False)])
def test_bistream_refuses_a_special_token_out_of_place(token: int, ignore_eos: bool) -> None:
    def sampler(log_probs: mx.array, decoded: list[int], ignored: bool) -> int:
        return token if ignored == ignore_eos else support_llm.walk(np.array(log_probs), len(decoded))

    with pytest.raises(ValueError, match=f"special token {token}"):
        list(tiny().generate_bistream([1] * 6, [], [], sampler))


@settings(max_examples=20, deadline=None)
@given(cuts=st.sets(st.integers(1, 42), max_size=6))
def test_cached_steps_equal_one_run(cuts: set[int]) -> None:
    model, whole = tiny(), prompt(tiny())
    expected = model.llm(whole, model.make_cache())
    cache = model.make_cache()
    parts = [
        model.llm(whole[:, start:end], cache)
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 43], strict=True)
    ]
    assert cache.offset == 43
    assert_close(mx.concatenate(parts, axis=1), np.array(expected), 2e-5, "hidden states")


def test_cache_grows_over_its_block_size() -> None:
    model = tiny()
    x = model.embed_speech([(i * 37) % 6561 for i in range(600)])
    expected = model.llm(x, model.make_cache())[:, -1]
    cache = model.make_cache()
    for start, end in [(0, 250), (250, 256), (256, 257), (257, 599), (599, 600)]:
        hidden = model.llm(x[:, start:end], cache)
    assert cache.offset == 600
    assert_close(hidden[:, -1], np.array(expected), 5e-5, "hidden states")


def test_a_copied_cache_is_independent_and_a_trimmed_one_goes_back() -> None:
    model, x = tiny(), prompt(tiny())
    cache = model.make_cache()
    model.step(x, cache)
    other = cache.copy()
    one = np.array(model.step(model.embed_speech([11]), cache))
    two = np.array(model.step(model.embed_speech([22]), other))
    assert (cache.offset, other.offset) == (44, 44)
    assert np.abs(one - two).max() > 0.1
    straight = model.make_cache()
    model.step(mx.concatenate([x, model.embed_speech([11])], axis=1), straight)
    third = model.embed_speech([33])
    assert_close(model.step(third, cache), np.array(model.step(third, straight)), 1e-4, "after the copy went elsewhere")
    cache.trim(2)
    assert_close(model.step(model.embed_speech([22]), cache), two, 1e-6, "after trim")
    other.trim(1)
    assert_close(model.step(model.embed_speech([11]), other), one, 1e-6, "after trim")
    with pytest.raises(ValueError, match="holds 44 positions"):
        cache.trim(45)
    KVCache(2).copy().trim(0)


def test_generate_walks_like_the_golden_run() -> None:
    tokens = tiny().generate(
        support_llm.text("tiny"),
        support_llm.prompt_text("tiny"),
        support_llm.prompt_speech(),
        support_llm.pick,
        max_token_text_ratio=24 / 11 + 1e-9,
    )
    assert list(tokens) == golden("llm.tiny")["tokens"].tolist()


@pytest.mark.parametrize("prompt_speech", [[], [5, 6, 7]])
def test_a_prefix_gives_the_same_log_probabilities_and_is_not_changed(prompt_speech: list[int]) -> None:
    model, prompt_text = tiny(), support_llm.prompt_text("tiny")
    prefix = model.prefill_prefix(prompt_text)
    assert prefix.offset == 1 + len(prompt_text)
    assert prefix.nbytes > 0

    def run(prefix: KVCache | None) -> tuple[list[int], np.ndarray]:
        rows: list[np.ndarray] = []

        def sampler(log_probs: mx.array, decoded: list[int], ignore_eos: bool) -> int:
            rows.append(np.array(log_probs))
            return support_llm.walk(rows[-1], len(decoded))

        tokens = model.generate(
            support_llm.text("tiny"), prompt_text, prompt_speech, sampler, max_token_text_ratio=2, prefix=prefix
        )
        return list(tokens), np.stack(rows)

    expected, expected_rows = run(None)
    before = [np.array(array) for array in prefix.arrays()]
    for _ in range(2):
        tokens, rows = run(prefix)
        assert tokens == expected
        assert_close(rows, expected_rows, 1e-4, "log-probabilities")
    assert prefix.offset == 1 + len(prompt_text)
    for old, new in zip(before, prefix.arrays(), strict=True):
        assert np.array_equal(old, np.array(new))


def test_a_prefix_of_no_prompt_text_and_of_another_one() -> None:
    model = tiny()
    assert model.prefill_prefix([]).offset == 1
    with pytest.raises(ValueError, match="prefix holds 3 positions, prompt_text needs 4"):
        model.generate([1], [1, 2, 3], [], support_llm.pick, prefix=model.prefill_prefix([1, 2]))
    with pytest.raises(ValueError, match=r"prompt_text\[1\] is 1000"):
        model.prefill_prefix([1, 1000])


def test_end_of_speech_is_forbidden_until_min_len_and_max_len_stops() -> None:
    flags: list[bool] = []

    def sampler(log_probs: mx.array, decoded: list[int], ignore_eos: bool) -> int:
        flags.append(ignore_eos)
        return len(decoded)

    tokens = list(tiny().generate([1, 2, 3], [4, 5], [6], sampler, max_token_text_ratio=5))
    assert tokens == list(range(15))
    assert flags == [True] * 6 + [False] * 9


@pytest.mark.parametrize("stop", [6561, 6562, 6563])
def test_every_special_id_ends_generation(stop: int) -> None:
    tokens = tiny().generate([1, 2], [], [], lambda log_probs, decoded, ignore: stop if len(decoded) == 2 else 7)
    assert list(tokens) == [7, 7]


def test_same_seed_same_tokens() -> None:
    def run(seed: int) -> list[int]:
        sampler = RASSampler.from_key(tiny().config.sampling, mx.random.key(seed))
        return list(islice(tiny().generate([9, 8, 7], [1], [2, 3], sampler), 12))

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_empty_prompts_are_allowed() -> None:
    assert tiny().prompt([1], [], []).shape == (1, 3, 64)


@pytest.mark.parametrize(
    ("text", "prompt_text", "prompt_speech", "message"),
    [
        ([], [1], [1], "text is empty"),
        ([1000], [1], [1], r"text\[0\] is 1000, must lie in 0\.\.999"),
        ([1], [2, -1], [1], r"prompt_text\[1\] is -1"),
        ([1], [1], [0, 6561], r"prompt_speech_token\[1\] is 6561, must lie in 0\.\.6560"),
    ],
)
def test_bad_ids_are_refused_at_once(
    text: list[int], prompt_text: list[int], prompt_speech: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tiny().generate(text, prompt_text, prompt_speech, support_llm.pick)


def test_bad_ids_are_refused_in_bistream() -> None:
    with pytest.raises(ValueError, match=r"prompt_text\[0\] is 1000"):
        tiny().generate_bistream([1], [1000], [], support_llm.pick)
    with pytest.raises(ValueError, match=r"text\[0\] is -3"):
        next(tiny().generate_bistream([-3], [], [], support_llm.pick))
    with pytest.raises(ValueError, match="text is empty"):
        next(tiny().generate_bistream([], [1], [], support_llm.pick))


def test_contradicting_sizes_are_refused() -> None:
    config = dataclasses.replace(support_llm.config("tiny"), llm_input_size=32)
    with pytest.raises(ValueError, match="llm_input_size 32"):
        Qwen2LM(config)
