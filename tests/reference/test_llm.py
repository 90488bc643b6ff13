"""The PyTorch reference of the language model against numbers made by the official code."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mlx_parity.sides.pytorch import TorchSide
from mlx_parity.taps import tap
from reference import llm
from tests.support import llm as given_llm
from tests.support.golden import ProbeRecorder, as_torch, assert_probes, golden

SIZES = ["tiny", pytest.param("full", marks=pytest.mark.slow)]


def ids(tokens: list[int]) -> Tensor:
    return torch.tensor([tokens], dtype=torch.int64)


def load(size: str, dtype: torch.dtype = torch.float32) -> llm.Qwen2LM:
    # on "meta" nothing is allocated or drawn for weights that are about to be replaced; for a tiny model not worth it
    with torch.device("meta" if size == "full" else "cpu"):
        model = llm.build(dataclasses.asdict(given_llm.config(size)))
    model.load_state_dict(as_torch(given_llm.state_dict(size)), strict=True, assign=True)
    return model.to(dtype)


def prompt(model: llm.Qwen2LM, size: str) -> Tensor:
    return model.prompt(ids(given_llm.text(size)), ids(given_llm.prompt_text(size)), ids(given_llm.prompt_speech()))


class Walk(NamedTuple):
    size: str
    log_probs: np.ndarray
    tokens: list[int]
    probes: ProbeRecorder


@torch.inference_mode()
def run_walk(model: llm.Qwen2LM, size: str) -> Walk:
    probes = ProbeRecorder(golden(f"llm.{size}").shapes)
    x, cache = prompt(model, size), None
    rows, tokens = [], []
    for step in range(given_llm.STEPS):
        if step == 0:
            with tap(TorchSide(model), probes, prefix="llm."):
                log_probs, cache = model.step(x, cache)
        else:
            log_probs, cache = model.step(x, cache)
        rows.append(log_probs.numpy())
        tokens.append(given_llm.walk(rows[-1], step))
        x = model.speech_embedding(ids(tokens[-1:]))
    return Walk(size, np.stack(rows), tokens, probes)


@pytest.fixture(scope="module", params=SIZES)
def walk(request: pytest.FixtureRequest) -> Iterator[Walk]:
    model = load(request.param)
    yield run_walk(model, request.param)
    del model
    gc.collect()


@pytest.fixture(scope="module")
def tiny() -> llm.Qwen2LM:
    return load("tiny")


def test_log_probabilities_and_tokens(walk: Walk) -> None:
    error = given_llm.assert_walk(walk.log_probs, walk.tokens, walk.size, max_abs=2e-3)
    print(f"{walk.size}: max abs {error:.3g}")


def test_probes(walk: Walk) -> None:
    assert_probes(walk.probes, golden(f"llm.{walk.size}"), 1e-3)


def test_float64_agrees_with_the_official_float32() -> None:
    walk = run_walk(load("tiny", torch.float64), "tiny")
    assert walk.log_probs.dtype == np.float64
    given_llm.assert_walk(walk.log_probs, walk.tokens, "tiny", max_abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite_and_near(dtype: torch.dtype, tiny: llm.Qwen2LM) -> None:
    model = load("tiny", dtype)
    with torch.inference_mode():
        log_probs, _ = model.step(prompt(model, "tiny"), None)
        expected, _ = tiny.step(prompt(tiny, "tiny"), None)
    assert log_probs.dtype == torch.float32
    assert torch.isfinite(log_probs).all()
    assert torch.corrcoef(torch.stack([log_probs, expected]))[0, 1] > 0.99


@pytest.mark.parametrize("speech", [0, 4, 17])
@pytest.mark.parametrize("at_once", [1, 2])
def test_bistream_tokens(tiny: llm.Qwen2LM, speech: int, at_once: int) -> None:
    """The golden text came two tokens at a time; one at a time makes the same blocks here."""
    words = given_llm.text("tiny")
    chunks = [ids(words[start : start + at_once]) for start in range(0, len(words), at_once)]
    tokens = list(
        tiny.generate_bistream(
            chunks, ids(given_llm.prompt_text("tiny")), ids(given_llm.prompt_speech()[:speech]), given_llm.pick
        )
    )
    assert tokens == golden("llm.bistream")[f"bistream/prompt_speech={speech}"].tolist()


def test_bistream_and_generate_refuse_empty_text(tiny: llm.Qwen2LM) -> None:
    nothing = ids([])
    with pytest.raises(ValueError, match="text is empty"):
        next(tiny.generate(nothing, ids([1]), nothing, given_llm.pick))
    with pytest.raises(ValueError, match="text_chunks is empty"):
        next(tiny.generate_bistream([], ids([1]), nothing, given_llm.pick))


@settings(max_examples=20, deadline=None)
@given(cuts=st.sets(st.integers(1, 42), max_size=6))
def test_cached_steps_equal_one_run(tiny: llm.Qwen2LM, cuts: set[int]) -> None:
    whole = prompt(tiny, "tiny")
    with torch.inference_mode():
        expected, _ = tiny.forward_one_step(whole, None)
        cache, parts = None, []
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 43], strict=True):
            hidden, cache = tiny.forward_one_step(whole[:, start:end], cache)
            parts.append(hidden)
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=0, atol=1e-5)


def test_generate_walks_like_the_golden_run(tiny: llm.Qwen2LM) -> None:
    tokens = tiny.generate(
        ids(given_llm.text("tiny")),
        ids(given_llm.prompt_text("tiny")),
        ids(given_llm.prompt_speech()),
        given_llm.pick,
        max_token_text_ratio=24 / 11 + 1e-9,
    )
    assert list(tokens) == golden("llm.tiny")["tokens"].tolist()


def test_strict_loading_names_a_missing_key() -> None:
    tensors = as_torch(given_llm.state_dict("tiny"))
    del tensors["llm.model.model.layers.1.mlp.up_proj.weight"]
    model = llm.build(dataclasses.asdict(given_llm.config("tiny")))
    with pytest.raises(RuntimeError, match=r"layers\.1\.mlp\.up_proj\.weight"):
        model.load_state_dict(tensors, strict=True)
