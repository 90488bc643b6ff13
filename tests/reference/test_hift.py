"""The reference vocoder's own properties."""

import copy
import math

import numpy as np
import pytest
import torch

from reference import hift
from tests.support.golden import assert_close, golden
from tests.support.hift import CONFIGS, as_mapping, golden_inputs, reference_model


@pytest.fixture(scope="module")
def tiny():
    return reference_model("tiny")


@pytest.fixture(scope="module")
def inputs():
    return golden_inputs()


def test_float64(tiny, inputs):
    wav, source = copy.deepcopy(tiny).double().inference(inputs.mel, **inputs.tape)
    assert wav.dtype == source.dtype == torch.float64
    assert_close(wav, golden("hift.tiny")["wav"], 1e-3, "wav")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_runs(tiny, inputs, dtype):
    wav, _ = copy.deepcopy(tiny).to(dtype).inference(inputs.mel, **inputs.tape)
    assert wav.dtype == torch.float32
    assert torch.isfinite(wav).all()


def test_one_frame(tiny):
    inputs = golden_inputs(1)
    wav, source = tiny.inference(inputs.mel, **inputs.tape)
    assert wav.shape == (1, 480)
    assert source.shape == (1, 1, 480)
    assert torch.isfinite(wav).all()


@torch.inference_mode()
def test_sines_follow_f0(tiny):
    """A constant f0 gives sines of its multiples, whatever the frame borders; silence gives noise alone."""
    sin_gen = copy.deepcopy(tiny).double().m_source.l_sin_gen
    time = torch.arange(240, 4560, dtype=torch.float64)  # between the centers of the first and the last frame
    noise = torch.randn(1, 4800, 9, dtype=torch.float64)
    sines = sin_gen(torch.full((1, 4800, 1), 200.0, dtype=torch.float64), torch.zeros(1, 9), 0 * noise)
    turns = (time[:, None] + 240.5) * 200 / 24000 * torch.arange(1, 10)
    assert torch.allclose(sines[0, 240:4560], 0.1 * torch.sin(2 * math.pi * turns), atol=1e-5)
    silence = sin_gen(torch.full((1, 4800, 1), 10.0, dtype=torch.float64), torch.zeros(1, 9), noise)
    assert torch.allclose(silence, noise * 0.1 / 3)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("mel", (1, 3, 80), r"mel must be \[1, 80, T\] with T >= 1, not \[1, 3, 80\]"),
        ("mel", (1, 80, 0), r"T >= 1"),
        ("mel", (80, 3), r"mel must be"),
        ("rand_ini", (1, 8), r"rand_ini must be \[1, 9\]"),
        (
            "sine_noise",
            (1, 1439, 9),
            r"sine_noise must be \[1, 1440, 9\] for a mel of \[1, 80, 3\], not \[1, 1439, 9\]",
        ),
        ("cache_source", (1, 1, 1441), r"cache_source must be \[1, 1, L\] with L <= 1440, not \[1, 1, 1441\]"),
        ("cache_source", (1, 3, 1), r"cache_source must be"),
    ],
)
def test_wrong_shapes_are_named(tiny, name, shape, expected):
    arguments = {**golden_inputs(3)._asdict(), name: torch.zeros(shape)}
    with pytest.raises(ValueError, match=expected):
        tiny.inference(arguments.pop("mel"), **arguments)


def test_cosyvoice1_vocoder_is_refused():
    with pytest.raises(ValueError, match="sampling_rate 22050"):
        hift.build({**as_mapping(CONFIGS["tiny"]), "sampling_rate": 22050})


def test_golden_run_is_worth_checking():
    """A high voice, so that phases grow large; unvoiced frames at full size; and nothing cut off."""
    f0, wav = golden("hift.tiny")["f0"], golden("hift.tiny")["wav"]
    assert f0.max() > 200
    assert golden("hift.full")["f0"].min() < 10
    assert 0.05 < wav.std() < 0.5
    assert np.abs(wav).max() < 0.99
