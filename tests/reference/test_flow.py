"""The PyTorch flow stage's own properties."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from reference import flow as reference_flow
from tests.support import flow as support
from tests.support.golden import as_torch, assert_close, recipe_state_dict

#: float32 against float64, tiny: 1.6e-5 was measured.
FLOAT32_FLOOR = 5e-5

modes = pytest.mark.parametrize(("streaming", "finalize"), [(0, 0), (0, 1), (1, 0), (1, 1)])


@cache
def model(size: str, dtype: torch.dtype = torch.float32) -> reference_flow.CausalMaskedDiffWithXvec:
    flow = reference_flow.build(support.config_dict(size))
    flow.load_state_dict(as_torch(recipe_state_dict(f"flow.{size}")), strict=True)
    return flow.to(dtype)


def run(flow: reference_flow.CausalMaskedDiffWithXvec, inputs: support.Inputs, **how: Any) -> np.ndarray:
    """The mel [1, 80, T]."""
    return flow.inference(*(torch.from_numpy(array) for array in inputs), **how).numpy()


def test_making_the_noise_leaves_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    reference_flow.fixed_noise(80)
    assert torch.equal(state, torch.random.get_rng_state())


@modes
def test_float64_agrees_with_float32(streaming: int, finalize: int) -> None:
    how: dict[str, Any] = {"streaming": bool(streaming), "finalize": bool(finalize)}
    exact = run(model("tiny", torch.float64), support.inputs(), **how)
    assert exact.dtype == np.float64
    assert_close(run(model("tiny"), support.inputs(), **how), exact, FLOAT32_FLOOR, "float32 against float64")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs(dtype: torch.dtype) -> None:
    mel = run(model("tiny", dtype), support.inputs(), streaming=True, finalize=False)
    assert mel.dtype == np.float32
    assert np.isfinite(mel).all()


def test_more_than_one_resolution_is_refused() -> None:
    config = support.config_dict("tiny")
    config["decoder"]["estimator"]["channels"] = (64, 64)
    with pytest.raises(ValueError, match="channels"):
        reference_flow.build(config)
