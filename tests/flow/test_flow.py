"""The MLX flow stage beside the reference, and its own properties."""

from __future__ import annotations

from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch

from mlx_cosyvoice.flow import CausalConditionalDecoder, CausalMaskedDiffWithXvec
from mlx_cosyvoice.flow.attention import rel_shift
from mlx_cosyvoice.flow.cfm import euler_schedule
from mlx_cosyvoice.flow.masks import chunk_mask
from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.nn.official import OfficialKeyError
from reference import flow as reference_flow
from tests.support import flow as support
from tests.support.golden import as_torch, assert_close, recipe_state_dict

MEL = 2e-3


def official(size: str) -> dict[str, np.ndarray]:
    """What the converter hands over: the official state dict and the fixed noise."""
    return {**recipe_state_dict(f"flow.{size}"), "decoder.rand_noise": reference_flow.fixed_noise(80).numpy()}


@cache
def model(size: str, dtype: mx.Dtype = mx.float32) -> CausalMaskedDiffWithXvec:
    flow = load_official(CausalMaskedDiffWithXvec(support.CONFIGS[size]), official(size))
    if dtype != mx.float32:
        flow.set_dtype(dtype)
    return flow


def run(flow: CausalMaskedDiffWithXvec, inputs: support.Inputs, **how: Any) -> np.ndarray:
    """The mel in the official layout, [1, 80, T]."""
    mel = flow(*(mx.array(array) for array in inputs), **how)
    assert mel.dtype == mx.float32
    return np.array(mel).transpose(0, 2, 1)


@cache
def reference(dtype: torch.dtype = torch.float32) -> reference_flow.CausalMaskedDiffWithXvec:
    """The tiny PyTorch flow."""
    flow = reference_flow.build(support.config_dict("tiny"))
    flow.load_state_dict(as_torch(recipe_state_dict("flow.tiny")), strict=True)
    return flow.to(dtype)


def reference_mel(dtype: torch.dtype, inputs: support.Inputs, **how: Any) -> np.ndarray:
    """The mel of the tiny PyTorch flow, [1, 80, T]."""
    return reference(dtype).inference(*(torch.from_numpy(array) for array in inputs), **how).numpy()


def test_a_state_dict_without_the_noise_is_refused() -> None:
    with pytest.raises(OfficialKeyError, match=r"missing: decoder\.rand_noise"):
        load_official(CausalMaskedDiffWithXvec(support.CONFIGS["tiny"]), recipe_state_dict("flow.tiny"), "flow.pt")


@pytest.mark.parametrize("streaming", [False, True])
def test_speech_without_a_prompt_is_that_of_the_reference(streaming: bool) -> None:
    """Speakers of a fine-tuned model have no prompt."""
    inputs = support.inputs().without_prompt()
    how: dict[str, Any] = {"streaming": streaming, "finalize": not streaming}
    expected = reference_mel(torch.float32, inputs, **how)
    assert expected.shape[2] == (94 if streaming else 100)
    assert_close(run(model("tiny"), inputs, **how), expected, MEL, "no prompt")


def test_conditions_are_those_of_the_reference() -> None:
    inputs = support.inputs()
    how: dict[str, Any] = {"streaming": True, "finalize": False}
    expected = reference().encode(*(torch.from_numpy(array) for array in inputs), **how)
    actual = model("tiny").encode(*(mx.array(array) for array in inputs), **how)
    for name, ours, theirs in zip(("mu", "spks", "cond"), actual, expected, strict=True):
        array = np.array(ours)
        assert_close(array.transpose(0, 2, 1) if array.ndim == 3 else array, theirs.numpy(), 1e-4, name)


def test_streamed_chunks_do_not_change_when_tokens_are_added() -> None:
    """Prompt 37 + 13 new tokens fill two chunks; whatever follows their lookahead cannot change their mel."""
    inputs = support.inputs()
    short = inputs.with_token(inputs.token[:, :16])
    before = run(model("tiny"), short, streaming=True, finalize=False)
    after = run(model("tiny"), inputs, streaming=True, finalize=False)[:, :, : before.shape[2]]
    assert before.shape[2] == 26
    assert_close(after, before, 1e-4, "the first chunk")
    whole = run(model("tiny"), inputs, streaming=False, finalize=False)[:, :, : before.shape[2]]
    assert np.abs(whole - run(model("tiny"), short, streaming=False, finalize=False)).max() > 0.1


@pytest.mark.parametrize(("dtype", "torch_dtype", "streaming"), [
    (mx.bfloat16, torch.bfloat16, True), (mx.float16, torch.float16, False),
    pytest.param(mx.bfloat16, torch.bfloat16, False, marks=pytest.mark.slow),
    pytest.param(mx.float16, torch.float16, True, marks=pytest.mark.slow),
])  # fmt: skip
def test_half_precision_drifts_no_more_than_the_reference(
    dtype: mx.Dtype, torch_dtype: torch.dtype, streaming: bool
) -> None:
    """Measured, RMS: bfloat16 0.032 (reference 0.029), float16 0.0038 (reference 0.0036); the mel's std is 2.1."""
    how: dict[str, Any] = {"streaming": streaming, "finalize": not streaming}
    exact = reference_mel(torch.float32, support.inputs(), **how)
    floor = np.square(reference_mel(torch_dtype, support.inputs(), **how) - exact).mean()
    drift = np.square(run(model("tiny", dtype), support.inputs(), **how) - exact).mean()
    assert np.sqrt(drift) <= 2 * np.sqrt(floor)


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_activations_follow_the_weights(dtype: mx.Dtype) -> None:
    flow = model("tiny", dtype)
    conditions = flow.encode(*(mx.array(array) for array in support.inputs()), streaming=True, finalize=False)
    assert {array.dtype for array in conditions} == {dtype}
    mu, spks, cond = conditions
    velocity = flow.decoder.estimator(mu, mu, mx.zeros((1,)), spks, cond, mask=None)
    assert velocity.dtype == dtype


def test_negative_tokens_are_taken_for_zero() -> None:
    inputs = support.inputs()
    how: dict[str, Any] = {"streaming": False, "finalize": True, "n_timesteps": 1}
    padded = inputs.with_token(np.where(np.arange(50) == 7, -1, inputs.token))
    zeroed = inputs.with_token(np.where(np.arange(50) == 7, 0, inputs.token))
    np.testing.assert_array_equal(run(model("tiny"), padded, **how), run(model("tiny"), zeroed, **how))


def test_a_single_token_can_be_spoken() -> None:
    inputs = support.inputs().without_prompt()
    mel = run(model("tiny"), inputs.with_token(inputs.token[:, :1]), streaming=False, finalize=True)
    assert mel.shape == (1, 80, 2)
    assert np.isfinite(mel).all()


INPUTS = support.inputs()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (INPUTS.with_token(INPUTS.token[0]), r"token must be \[1, length\], not \[50\]"),
        (INPUTS.with_token(INPUTS.token.repeat(2, 0)), r"token must be \[1, length\], not \[2, 50\]"),
        (INPUTS.with_token(INPUTS.token[:, :3]), "3 tokens, of which 3 are lookahead"),
        (INPUTS.with_token(np.full((1, 9), support.VOCAB)), "speech token 6561 is outside the vocabulary of 6561"),
        (INPUTS._replace(prompt_token=INPUTS.prompt_token[:, 1:]), r"prompt_feat must be \[1, 72, 80\]"),
        (INPUTS._replace(prompt_feat=INPUTS.prompt_feat[0]), r"prompt_feat must be \[1, 74, 80\].*not \[74, 80\]"),
    ],
)
def test_inputs_that_do_not_fit_are_named(inputs: support.Inputs, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(model("tiny"), inputs, streaming=True, finalize=False)


def test_more_than_one_resolution_is_refused() -> None:
    config = support.CONFIGS["tiny"].decoder.estimator
    with pytest.raises(ValueError, match="channels"):
        CausalConditionalDecoder(type(config)(channels=(64, 64)))


def test_no_euler_step_is_refused() -> None:
    with pytest.raises(ValueError, match="n_timesteps must be at least 1, not 0"):
        run(model("tiny"), support.inputs(), streaming=False, finalize=True, n_timesteps=0)


@pytest.mark.parametrize("steps", [1, 2, 10, 25])
def test_euler_schedule_is_that_of_the_reference_and_ends_at_one(steps: int) -> None:
    schedule = euler_schedule(steps)
    expected = [(float(t), float(dt)) for t, dt in reference_flow.euler_schedule(steps, torch.float32)]
    np.testing.assert_allclose(schedule, expected, rtol=0, atol=2e-7)
    assert sum(schedule[-1]) == pytest.approx(1, abs=1e-6)


def test_chunk_mask_shows_a_position_its_own_chunk_and_all_before() -> None:
    mask = chunk_mask(5, 2)
    assert mask is not None
    expected = ["11000", "11000", "11110", "11110", "11111"]
    np.testing.assert_array_equal(np.array(mask), [[c == "1" for c in row] for row in expected])
    assert chunk_mask(5, 0) is None


@pytest.mark.parametrize("length", [1, 2, 5])
def test_rel_shift_picks_the_score_of_the_relative_position(length: int) -> None:
    scores = np.random.default_rng(0).normal(size=(1, 2, length, 2 * length - 1)).astype(np.float32)
    shifted = np.array(rel_shift(mx.array(scores)))
    for i in range(length):
        for j in range(length):
            np.testing.assert_array_equal(shifted[:, :, i, j], scores[:, :, i, length - 1 - i + j])
