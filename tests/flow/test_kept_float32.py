"""A module that is kept in float32 changes the dtype of nothing that streaming remembers outside of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.decoding.incremental import IncrementalFlow
from mlx_cosyvoice.flow import CausalMaskedDiffWithXvec
from mlx_cosyvoice.llm import Qwen2LM
from mlx_cosyvoice.mixed import keep_float32
from mlx_cosyvoice.nn.cache import Cache
from mlx_parity.intercept import ModuleCall, intercepted
from tests.support import llm as llm_support
from tests.support.incremental import prompt, speech, whole, whole_mel

LLM = llm_support.config("tiny")
LLM_PATHS = sorted(path for path, _ in Qwen2LM(LLM).named_modules() if path)
FLOW = sorted(path for path, _ in whole("tiny").named_modules() if path)


def mixed(model: Any, kept: list[str], dtype: mx.Dtype) -> Any:
    """A copy in `dtype`, but for the modules at the paths `kept`."""
    model = copy.deepcopy(model)
    model.set_dtype(dtype)
    modules = dict(model.named_modules())
    for path in kept:
        modules[path].set_dtype(mx.float32)
    keep_float32(model, kept, dtype)
    return model


@contextmanager
def owners(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, mx.Dtype]]]:
    """(path of the innermost module, dtype) of all that caches are handed meanwhile."""
    within: list[str] = []
    seen: list[tuple[str, mx.Dtype]] = []

    def entered(call: ModuleCall) -> Any:
        within.append(call.path)
        try:
            return call.run()
        finally:
            within.pop()

    def noting(method: Any) -> Any:
        def noted(self: Cache, *arrays: mx.array) -> Any:
            seen.extend((within[-1], array.dtype) for array in arrays)
            return method(self, *arrays)

        return noted

    inside = {path: module for path, module in model.named_modules() if path}
    with intercepted(inside, entered), monkeypatch.context() as patch:
        for name in ("remember", "update_and_fetch"):
            patch.setattr(Cache, name, noting(getattr(Cache, name)))
        yield seen


@settings(max_examples=3, deadline=None)
@given(path=st.sampled_from(FLOW))
@example(path="encoder.encoders.0")
@example(path="encoder")
@example(path="decoder.estimator.mid_blocks.0.1.0")
@example(path="decoder.estimator.mid_blocks.0.0")
@example(path="encoder.after_norm")
@example(path="encoder.pre_lookahead_layer.conv2")
def test_the_flow(path: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        model: CausalMaskedDiffWithXvec = mixed(whole("tiny"), [path], mx.float16)
        flow = IncrementalFlow(model, n_timesteps=1)
        with owners(model, monkeypatch) as seen:
            state = flow.start(prompt(28))
            _, state = flow.step(state, speech(25))
    assert seen
    assert state.computed == 50
    assert state.spks.dtype == mx.float16 or path == "spk_embed_affine_layer"
    wrong = [owner for owner, dtype in seen if dtype != mx.float16 and not f"{owner}.".startswith(f"{path}.")]
    assert not wrong


def test_the_mel_of_a_mixed_flow_is_that_of_one_run() -> None:
    estimator, encoder = "decoder.estimator", "encoder"
    kept = [f"{estimator}.mid_blocks.0.0", f"{estimator}.down_blocks.0.2", f"{encoder}.encoders.0.self_attn"]
    kept += [f"{estimator}.up_blocks.0.1.0.attn1", f"{encoder}.up_layer.conv"]
    flow = mixed(whole("tiny"), kept, mx.float16)
    incremental = IncrementalFlow(flow, n_timesteps=2)
    mel, _ = incremental.step(incremental.start(prompt()), speech(44), final=None)
    expected, exact, rounded = (
        np.array(whole_mel(side, prompt(), speech(44)[:41], n_timesteps=2, streaming=True, finalize=False))
        for side in (flow, whole("tiny", mx.float32), whole("tiny", mx.float16))
    )
    # what float16 loses depends on the processor: 0.004 to 0.008
    floor = np.sqrt(np.square(rounded - exact).mean())
    assert np.sqrt(np.square(np.array(mel) - expected).mean()) < 2 * floor


@settings(max_examples=12, deadline=None)
@given(path=st.sampled_from(LLM_PATHS))
@example(path="llm.model.model.layers.1.self_attn")
@example(path="llm.model.model.layers.0")
@example(path="llm.model.model.norm")
def test_the_language_model(path: str) -> None:
    model = mixed(Qwen2LM(LLM), [path], mx.bfloat16)
    cache = model.make_cache()
    model.step(model.prompt([1, 2], [3], [4]), cache)
    model.step(model.embed_speech([5]), cache)
    for number, layer in enumerate(cache.layers):
        if not f"llm.model.model.layers.{number}.self_attn.".startswith(f"{path}."):
            assert {array.dtype for array in layer.arrays()} == {mx.bfloat16}, number
