"""What bounds the state of the incremental flow: half precision, and attention to the last chunks only."""

from __future__ import annotations

from typing import Any
from unittest import mock

import mlx.core as mx
import numpy as np
import pytest
import torch

from mlx_cosyvoice.decoding.incremental import IncrementalFlow
from mlx_cosyvoice.flow.attention import rel_shift
from mlx_cosyvoice.nn.backend import in_cpu_form
from mlx_cosyvoice.nn.cpu import attention as cpu_attention
from reference import flow as reference_flow
from reference.upsample_encoder import left_context
from tests.support import flow as support
from tests.support.golden import as_torch, assert_close, recipe_state_dict
from tests.support.incremental import in_pieces, incremental, prompt, speech, whole, whole_mel

STEPS = 2


@pytest.mark.parametrize("left", [0, 1, 2])
def test_left_context_is_that_of_the_official_mask(left: int) -> None:
    """The official `subsequent_chunk_mask` with `num_left_chunks`, in the encoder and in the estimator."""

    reference = reference_flow.build(support.config_dict("tiny"))
    reference.load_state_dict(as_torch(recipe_state_dict("flow.tiny")), strict=True)
    voice, token = prompt(60), speech(140)
    arrays = [np.array(each) for each in (voice.prompt_token, voice.prompt_feat, voice.embedding)]
    arguments = [torch.from_numpy(each) for each in (np.array([token]), arrays[0].astype(np.int64), *arrays[1:])]
    how: dict[str, Any] = {"streaming": True, "finalize": True, "n_timesteps": STEPS}
    exact = reference.inference(*arguments, **how)
    with left_context(reference, left):
        expected = reference.inference(*arguments, **how)
    flow = incremental(n_timesteps=STEPS, left_context_chunks=left)
    mels, _ = in_pieces(flow, flow.start(voice), token, [50, 25], "causal")
    mel = np.concatenate(mels, axis=1).transpose(0, 2, 1)
    assert_close(mel, expected.numpy(), 1e-3, f"{left} chunks to the left")
    assert np.abs(mel - exact.numpy()).max() > 0.01


def test_a_left_context_that_holds_everything_changes_nothing() -> None:
    token = speech(60)
    exact, limited = (
        np.concatenate(in_pieces(flow, flow.start(prompt()), token, [16, 25], "causal")[0], axis=1)
        for flow in (incremental(n_timesteps=STEPS), incremental(n_timesteps=STEPS, left_context_chunks=4))
    )
    assert_close(limited, exact, 1e-4, "4 chunks to the left of 4")


def test_left_context_bounds_the_state_and_its_absence_does_not() -> None:
    sizes: dict[int | None, list[int]] = {}
    for left in (None, 1):
        flow = incremental(n_timesteps=1, left_context_chunks=left)
        state = flow.start(prompt(80))
        sizes[left] = [state.nbytes]
        for start in range(0, 600, 25):
            _, state = flow.step(state, speech(625)[start : start + 25])
            sizes[left].append(state.nbytes)
    assert max(sizes[1]) == max(sizes[1][:7])
    assert sizes[None][-1] > 2 * max(sizes[1])


@pytest.mark.parametrize(("dtype", "bound"), [(mx.float16, 0.01), (mx.bfloat16, 0.1)])
def test_half_precision_state_is_half_as_large_and_nearly_exact(dtype: mx.Dtype, bound: float) -> None:
    """Measured, max abs: float16 0.0018, bfloat16 0.018; the mel's std is 2.1."""
    mels, sizes = [], []
    for flow in (incremental(), IncrementalFlow(whole("tiny"), state_dtype=dtype)):
        state = flow.start(prompt(80))
        parts, state = in_pieces(flow, state, speech(103), [50, 53])
        mels.append(np.concatenate(parts, axis=1))
        sizes.append(state.nbytes)
    error = np.abs(mels[1] - mels[0]).max()
    assert 0 < error < bound
    assert 0.5 <= sizes[1] / sizes[0] < 0.55


@pytest.mark.parametrize(("least", "called"), [(1, True), (1 << 40, False)])
def test_both_forms_yield_the_mel_of_one_run(least: int, called: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = mock.Mock(wraps=cpu_attention.attention)
    monkeypatch.setattr(cpu_attention, "attention", attention)
    monkeypatch.setattr(cpu_attention, "FEW_SCORES", least)
    flow, token = incremental(n_timesteps=STEPS), speech(60)
    mels, _ = in_pieces(flow, flow.start(prompt()), token, [16, 25], "causal")
    expected = whole_mel(whole("tiny"), prompt(), token, streaming=True, finalize=True, n_timesteps=STEPS)
    assert_close(np.concatenate(mels, axis=1), expected, 1e-3, "mel")
    assert attention.called is (called and in_cpu_form())


@pytest.mark.parametrize(("keys", "queries"), [(1, 1), (5, 2), (9, 9)])
def test_scores_by_position_become_scores_by_key(keys: int, queries: int) -> None:
    positions = np.arange(keys - 1, -queries, -1)
    scores = np.broadcast_to(positions.astype(np.float32), (2, queries, len(positions)))
    shifted = np.array(rel_shift(mx.array(scores)[None]))
    query = np.arange(keys - queries, keys)
    np.testing.assert_array_equal(shifted[0, 1], query[:, None] - np.arange(keys)[None])
