"""The MLX vocoder's own properties, and its signal processing beside PyTorch's."""

import dataclasses

import mlx.core as mx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.config import HiFTConfig, ISTFTConfig
from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.nn.interpolation import fused_multiply_add
from mlx_cosyvoice.vocoder import HiFTGenerator
from mlx_cosyvoice.vocoder.source import TURN_UNIT, exact_cumsum, linear_downsample, linear_upsample
from mlx_cosyvoice.vocoder.stft import STFT
from reference import hift
from tests.support.golden import as_torch, assert_close, golden, recipe_state_dict
from tests.support.hift import CONFIGS, as_mapping, golden_inputs, reference_model

STFT_16_4 = STFT(16, 4)


def build(size):
    return load_official(HiFTGenerator(CONFIGS[size]), recipe_state_dict(f"hift.{size}"))


def ours(tensor):
    """A reference tensor as an MLX array, [B, C, T] to [B, T, C]; draws are laid out alike."""
    return mx.array(tensor.numpy())


def arguments(frames):
    inputs = golden_inputs(frames)
    return {
        "mel": ours(inputs.mel.mT),
        "rand_ini": ours(inputs.rand_ini),
        "sine_noise": ours(inputs.sine_noise),
    }


@pytest.fixture(scope="module")
def tiny():
    return build("tiny")


@pytest.fixture(scope="module")
def inputs():
    return arguments(60)


def official_source(size):
    return mx.array(golden(f"hift.{size}")["source"]).swapaxes(1, 2)


def random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision(inputs, dtype):
    """Runs, stays finite, and from the same source is as near to float32 as PyTorch is in that dtype."""
    half = build("tiny")
    half.set_dtype(dtype)
    wav, source = half(**inputs)
    assert wav.dtype == source.dtype == mx.float32
    assert mx.isfinite(wav).all()

    reference = reference_model("tiny").to({mx.float16: torch.float16, mx.bfloat16: torch.bfloat16}[dtype])
    expected = golden("hift.tiny")["wav"]
    with torch.inference_mode():
        mel = golden_inputs().mel.to(reference.m_source.l_linear.weight.dtype)
        torch_wav = reference.decode(mel, torch.from_numpy(golden("hift.tiny")["source"].copy())).numpy()
    our_wav = np.array(half.decode(inputs["mel"], official_source("tiny")))
    assert np.std(our_wav - expected) <= 1.5 * np.std(torch_wav - expected)


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_short_mels(tiny, frames):
    wav, source = tiny(**arguments(frames))
    inputs = golden_inputs(frames)
    expected, expected_source = reference_model("tiny").inference(inputs.mel, **inputs.tape)
    assert_close(source, expected_source.mT.numpy(), 2e-4, "source")
    assert_close(wav, expected.numpy(), 2e-3, "wav")


@pytest.mark.parametrize("audio_limit", [0.99, 1e4])
def test_loud_spectra_are_cut(audio_limit):
    """Magnitudes above 100 and samples beyond the audio limit are clipped, as in the reference."""
    config = dataclasses.replace(CONFIGS["tiny"], audio_limit=audio_limit)
    weights = recipe_state_dict("hift.tiny")
    weights["conv_post.bias"] = weights["conv_post.bias"] + np.float32(5)
    inputs = golden_inputs(2)
    reference = hift.build(as_mapping(config))
    reference.load_state_dict(as_torch(weights))
    expected, _ = reference.inference(inputs.mel, **inputs.tape)
    wav, _ = load_official(HiFTGenerator(config), weights)(**arguments(2))
    assert_close(wav, expected.numpy(), 1e-3 * float(expected.std()), "wav")
    assert (float(expected.abs().max()) == pytest.approx(0.99)) == (audio_limit < 1)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("mel", (1, 80, 3), r"mel must be \[1, T, 80\] with T >= 1, not \[1, 80, 3\]"),
        ("mel", (1, 0, 80), r"T >= 1"),
        ("mel", (3, 80), r"mel must be"),
        ("rand_ini", (1, 8), r"rand_ini must be \[1, 9\]"),
        (
            "sine_noise",
            (1, 1439, 9),
            r"sine_noise must be \[1, 1440, 9\] for a mel of \[1, 3, 80\], not \[1, 1439, 9\]",
        ),
        ("cache_source", (1, 1441, 1), r"cache_source must be \[1, L, 1\] with L <= 1440, not \[1, 1441, 1\]"),
        ("cache_source", (1, 1, 3), r"cache_source must be"),
    ],
)
def test_wrong_shapes_are_named(tiny, name, shape, expected):
    with pytest.raises(ValueError, match=expected):
        tiny(**{**arguments(3), name: mx.zeros(shape)})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (HiFTConfig(sampling_rate=22050), "sampling_rate 22050"),
        (HiFTConfig(istft_params=ISTFTConfig(n_fft=16, hop_len=5)), "multiple of hop_len"),
        (HiFTConfig(istft_params=ISTFTConfig(n_fft=15, hop_len=5)), "must be even"),
    ],
)
def test_impossible_sizes_are_refused(config, expected):
    with pytest.raises(ValueError, match=expected):
        HiFTGenerator(config)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 2), st.integers(9, 400), st.sampled_from([(16, 4), (16, 8), (8, 2), (12, 3)]))
def test_stft_equals_torch(batch, length, sizes):
    n_fft, hop = sizes
    signal = torch.from_numpy(random(length, batch, length))
    expected = torch.stft(signal, n_fft, hop, window=torch.hann_window(n_fft), return_complex=True)
    expected = torch.cat([expected.real, expected.imag], dim=1).mT
    assert_close(STFT(n_fft, hop).forward(ours(signal)), expected.numpy(), 1e-5, "stft")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 2), st.integers(2, 100), st.sampled_from([(16, 4), (8, 2), (12, 3)]))
def test_istft_equals_torch_for_any_spectrum(batch, frames, sizes):
    n_fft, hop = sizes
    parts = torch.from_numpy(random(frames, 2, batch, n_fft // 2 + 1, frames))
    expected = torch.istft(torch.complex(*parts), n_fft, hop, window=torch.hann_window(n_fft))
    spectrum = mx.concatenate([ours(parts[0].mT), ours(parts[1].mT)], axis=-1)
    assert_close(STFT(n_fft, hop).inverse(spectrum), expected.numpy(), 1e-5, "istft")


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 200), st.integers(0, 99))
def test_istft_undoes_stft(blocks, seed):
    signal = mx.array(random(seed, 1, 4 * blocks))
    assert_close(STFT_16_4.inverse(STFT_16_4.forward(signal)), np.array(signal), 1e-5, "round trip")


def test_stft_of_too_little():
    with pytest.raises(ValueError, match="has 8 samples, its transform needs more than 8"):
        STFT_16_4.forward(mx.zeros((1, 8)))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.sampled_from([2, 3, 5, 120, 480]))
def test_resampling_equals_torch(frames, scale):
    wide = torch.from_numpy(random(frames, 1, frames * scale, 2))
    down = F.interpolate(wide.mT, scale_factor=1 / scale, mode="linear").mT
    if down.shape[1] == frames:  # torch loses a frame where frames * scale * (1 / scale) rounds down
        assert_close(linear_downsample(ours(wide), scale), down.numpy(), 1e-6, "down")
    narrow = torch.from_numpy(random(frames, 1, frames, 2) * 1e4)
    up = F.interpolate(narrow.mT, scale_factor=scale, mode="linear").mT
    # One unit in the last place at most: a torch built without fused multiply-add rounds twice
    assert_close(linear_upsample(ours(narrow), scale, 0, frames, 0), up.numpy(), 1e-6 * float(up.abs().max()), "up")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 99))
def test_phases_are_summed_as_torch_sums_them(frames, seed):
    turns = np.random.default_rng(seed).random((1, frames, 9)).astype(np.float32)
    assert np.array_equal(
        np.array(exact_cumsum(mx.array(turns)).astype(mx.float32) * TURN_UNIT),
        torch.from_numpy(turns).cumsum(1).numpy(),
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9999))
def test_fused_multiply_add_rounds_once(seed):
    a, b, c = random(seed, 3, 500) * np.array([[1e4], [1], [1e4]], np.float32)
    exact = a.astype(np.float64) * b + c
    result = np.array(fused_multiply_add(mx.array(a), mx.array(b), mx.array(c)))
    assert np.array_equal(result, exact.astype(np.float32))


def test_reflection_pad_mirrors_the_second_frame(tiny):
    x = mx.array(random(0, 2, 5, 3))
    expected = F.pad(torch.from_numpy(np.array(x)).mT, (1, 0), mode="reflect").mT
    assert_close(tiny.reflection_pad(x), expected.numpy(), 0, "reflection_pad")
