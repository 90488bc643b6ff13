"""CosyVoice3's flow stage beside its reference, and its own properties."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten

from mlx_cosyvoice.config import DiTConfig, DiTFlowConfig, ModelConfig
from mlx_cosyvoice.families.cosyvoice3 import FLOW
from mlx_cosyvoice.families.declaration import value_at
from mlx_cosyvoice.flow import CausalMaskedDiffWithDiT
from mlx_cosyvoice.flow.dit import DiT
from mlx_cosyvoice.flow.rotary import RotaryEmbedding, apply_rotary_pos_emb
from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.nn.official import OfficialKeyError
from reference.dit import RotaryEmbedding as ReferenceRotary
from tests.support import flow as inputs
from tests.support.flow_dit import CONFIGS, reference_flow, whole
from tests.support.golden import assert_close, official_shapes, recipe_state_dict

MEL = 2e-3


@dataclass(frozen=True)
class Config(ModelConfig):
    flow: DiTFlowConfig = field(default_factory=DiTFlowConfig)


def run(flow: CausalMaskedDiffWithDiT, arguments: inputs.Inputs, **how: Any) -> np.ndarray:
    """The mel in the official layout, [1, 80, T]."""
    mel = flow(*(mx.array(array) for array in arguments), **how)
    assert mel.dtype == mx.float32
    return np.array(mel).transpose(0, 2, 1)


def reference_mel(dtype: torch.dtype, arguments: inputs.Inputs, **how: Any) -> np.ndarray:
    return reference_flow("tiny", dtype).inference(*map(torch.from_numpy, arguments), **how).numpy()


@pytest.mark.parametrize("size", CONFIGS)
def test_a_family_can_declare_it(size: str) -> None:
    config = Config(flow=CONFIGS[size])
    assert all(value_at(config, one) == value_at(config, other) for one, other in FLOW.equal)
    assert all(value_at(config, one) % value_at(config, other) == 0 for one, other in FLOW.multiples)
    [layers] = FLOW.layers
    assert layers.claimed(config) == layers.held(official_shapes(f"flow3.{size}")) > 1
    if size == "tiny":
        assert isinstance(FLOW.build(config), CausalMaskedDiffWithDiT)
        assert set(FLOW.float32_tensors) <= dict(tree_flatten(whole().parameters())).keys()


def test_a_state_dict_without_the_noise_is_refused() -> None:
    with pytest.raises(OfficialKeyError, match=r"missing: decoder\.rand_noise"):
        load_official(CausalMaskedDiffWithDiT(CONFIGS["tiny"]), recipe_state_dict("flow3.tiny"), "flow.pt")


@pytest.mark.parametrize("sizes", [{"dim": 24}, {"dim_head": 7}])
def test_sizes_that_cannot_be_built_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="dim must be a multiple of 16 and dim_head of 2, not"):
        DiT(replace(DiTConfig(dim=64, depth=1, heads=1), **sizes))


@pytest.mark.parametrize("streaming", [False, True])
def test_speech_without_a_prompt_is_that_of_the_reference(streaming: bool) -> None:
    how: dict[str, Any] = {"streaming": streaming, "finalize": not streaming}
    expected = reference_mel(torch.float32, inputs.inputs().without_prompt(), **how)
    assert_close(run(whole(), inputs.inputs().without_prompt(), **how), expected, MEL, "no prompt")


@pytest.mark.parametrize(("dtype", "torch_dtype"), [(mx.bfloat16, torch.bfloat16), (mx.float16, torch.float16)])
def test_half_precision_drifts_no_more_than_the_reference(dtype: mx.Dtype, torch_dtype: torch.dtype) -> None:
    how: dict[str, Any] = {"streaming": True, "finalize": False}
    exact = reference_mel(torch.float32, inputs.inputs(), **how)
    floor = np.square(reference_mel(torch_dtype, inputs.inputs(), **how) - exact).mean()
    drift = np.square(run(whole("tiny", dtype), inputs.inputs(), **how) - exact).mean()
    assert 0 < np.sqrt(drift) <= 2 * np.sqrt(floor)


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_activations_follow_the_weights(dtype: mx.Dtype) -> None:
    flow = whole("tiny", dtype)
    conditions = flow.encode(*(mx.array(array) for array in inputs.inputs()), streaming=True, finalize=False)
    assert {array.dtype for array in conditions} == {dtype}
    mu, spks, cond = conditions
    assert flow.decoder.estimator(mu, mu, mx.zeros((1,)), spks, cond, mask=None).dtype == dtype


def test_float64_agrees_with_float32() -> None:
    """Measured: 1.5e-4."""
    how: dict[str, Any] = {"streaming": True, "finalize": False}
    exact = reference_mel(torch.float64, inputs.inputs(), **how)
    assert exact.dtype == np.float64
    assert_close(reference_mel(torch.float32, inputs.inputs(), **how), exact, 3e-4, "float32 against float64")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_reference_keeps_the_frequencies_of_positions(dtype: torch.dtype) -> None:
    rotary = ReferenceRotary(32).to(dtype)
    assert rotary.inv_freq.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    np.testing.assert_array_equal(rotary.inv_freq, ReferenceRotary(32).inv_freq)


def test_what_is_turned_depends_on_distance_alone() -> None:
    rotary = RotaryEmbedding(8)
    rotary.inv_freq = 10000 ** (-mx.arange(4) / 4)
    x = mx.array(np.random.default_rng(0).normal(size=(2, 1, 24)).astype(np.float32))
    placed = [apply_rotary_pos_emb(x, rotary(mx.array([[place]]))) for place in (0, 40, 1000, 1040)]
    products = [(placed[a][0] * placed[b][1])[..., :8].sum().item() for a, b in ((0, 1), (2, 3))]
    assert products[0] == pytest.approx(products[1], abs=1e-3)
    assert abs(products[0] - (x[0] * x[1])[..., :8].sum().item()) > 0.1
    for turned in placed:
        np.testing.assert_array_equal(turned[..., 8:], x[..., 8:])
    np.testing.assert_array_equal(placed[0], x)


def test_streamed_chunks_do_not_change_when_tokens_are_added() -> None:
    arguments = inputs.inputs()
    short = arguments.with_token(arguments.token[:, :16])
    before = run(whole(), short, streaming=True, finalize=False)
    assert before.shape[2] == 26
    after = run(whole(), arguments, streaming=True, finalize=False)[:, :, :26]
    assert_close(after, before, 1e-4, "the first chunk")
    full = run(whole(), arguments, streaming=False, finalize=False)[:, :, :26]
    assert np.abs(full - run(whole(), short, streaming=False, finalize=False)).max() > 0.1
