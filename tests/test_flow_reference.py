"""The PyTorch flow stage against the official numbers, and its own properties."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from parity.capture import tap
from parity.sides.pytorch import TorchSide
from reference import flow as reference_flow
from tests.support import flow as support
from tests.support.golden import ProbeRecorder, as_torch, assert_close, assert_probes, golden, recipe_state_dict

MEL = 5e-4
PROBE = 1e-3
#: float32 against float64, tiny: 1.6e-5 was measured.
FLOAT32_FLOOR = 5e-5

sizes = pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.slow)])
modes = pytest.mark.parametrize(("streaming", "finalize"), [(0, 0), (0, 1), (1, 0), (1, 1)])


@cache
def model(size: str, dtype: torch.dtype = torch.float32) -> reference_flow.CausalMaskedDiffWithXvec:
    flow = reference_flow.build(support.config_dict(size))
    flow.load_state_dict(as_torch(recipe_state_dict(f"flow.{size}")), strict=True)
    return flow.to(dtype)


def run(flow: reference_flow.CausalMaskedDiffWithXvec, given: support.Inputs, **how: Any) -> np.ndarray:
    """The mel [1, 80, T]."""
    return flow.inference(*(torch.from_numpy(array) for array in given), **how).numpy()


@sizes
@modes
def test_mel_is_the_official_one(size: str, streaming: int, finalize: int) -> None:
    mel = run(model(size), support.inputs(), streaming=bool(streaming), finalize=bool(finalize))
    name = f"mel/streaming={streaming}/finalize={finalize}"
    assert_close(mel, golden(f"flow.{size}")[name], MEL, name)


@sizes
def test_stream_chunks_are_the_official_ones(size: str) -> None:
    parts = [
        run(model(size), given, streaming=True, finalize=False)[:, :, spoken:]
        for spoken, given in support.stream_inputs()
    ]
    assert_close(np.concatenate(parts, 2), golden(f"flow.{size}")["mel/stream_chunks"], MEL, "mel/stream_chunks")


@sizes
def test_every_probe(size: str) -> None:
    file = golden(f"flow.{size}")
    recorder = ProbeRecorder(file.shapes)
    with tap(TorchSide(model(size)), recorder, prefix="flow."):
        run(model(size), support.inputs(), streaming=True, finalize=False, n_timesteps=10)
    assert_probes(recorder, file, PROBE)


@sizes
def test_dropped_decoder_mask_is_the_official_fault_and_only_with_the_fault_on(size: str) -> None:
    expected = golden(f"flow.{size}")["mel/fault=decoder_mask_dropped"]
    with support.decoder_mask_dropped(model(size)):
        faulty = run(model(size), support.inputs(), streaming=True, finalize=False)
    assert_close(faulty, expected, MEL, "mel/fault=decoder_mask_dropped")
    sound = run(model(size), support.inputs(), streaming=True, finalize=False)
    assert np.abs(sound - expected).max() > 100 * MEL


def test_noise_is_the_official_one_and_leaves_the_global_generator_alone() -> None:
    noise = model("tiny").decoder.rand_noise
    assert noise.shape == (1, 80, 15000)
    np.testing.assert_array_equal(noise[:, :, :64].numpy(), golden("flow.tiny")["rand_noise_head"])
    state = torch.random.get_rng_state()
    reference_flow.fixed_noise(80)
    assert torch.equal(state, torch.random.get_rng_state())


def test_given_noise_is_used() -> None:
    flow = model("tiny")
    how: dict[str, Any] = {"streaming": False, "finalize": True}
    fixed = run(flow, support.inputs(), **how)
    np.testing.assert_array_equal(run(flow, support.inputs(), noise=flow.decoder.rand_noise, **how), fixed)
    assert np.abs(run(flow, support.inputs(), noise=-flow.decoder.rand_noise, **how) - fixed).max() > 0.1


def test_speech_longer_than_the_noise_is_refused() -> None:
    given = support.inputs().with_token(np.zeros((1, 7501 - support.PROMPT), np.int64))
    with pytest.raises(ValueError, match=r"15002 mel frames.*15000"):
        run(model("tiny"), given, streaming=False, finalize=True)


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
