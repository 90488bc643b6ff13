"""The MLX CAM++'s own properties."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_cosyvoice.config import SpeakerEncoderConfig
from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.speaker_encoder import CAMPPlus
from mlx_cosyvoice.speaker_encoder.layers import contexts
from reference.synthetic import recipe
from tests.support.embeddings import cosine
from tests.support.golden import assert_close, golden, recipe_state_dict


def fbank(frames: int) -> mx.array:
    return mx.array(recipe.unit(f"input/fbank{frames}", (1, frames, 80)) * np.float32(2))


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return recipe_state_dict("campplus", "campplus.")


@pytest.fixture(scope="module")
def encoder(weights: dict[str, np.ndarray]) -> CAMPPlus:
    return load_official(CAMPPlus(SpeakerEncoderConfig()), weights)


@pytest.mark.parametrize("frames", [1, 57, 99, 100, 101, 174, 250, 300])
def test_the_last_segment_is_divided_by_its_true_length(frames: int) -> None:
    x = recipe.unit("segments", (2, frames, 4))
    expected = np.empty_like(x)
    for start in range(0, frames, 100):
        expected[:, start : start + 100] = x[:, start : start + 100].mean(axis=1, keepdims=True)
    expected += x.mean(axis=1, keepdims=True)
    assert_close(contexts(mx.array(x)), expected, 1e-6, "contexts")


def test_a_batch_is_its_members(encoder: CAMPPlus) -> None:
    one, other = fbank(57), fbank(100)[:, :57]
    together = np.array(encoder(mx.concatenate([one, other])))
    assert_close(together, np.concatenate([encoder(one), encoder(other)]), 1e-5, "embeddings")


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_runs(weights: dict[str, np.ndarray], dtype: mx.Dtype) -> None:
    encoder = load_official(CAMPPlus(SpeakerEncoderConfig()), weights)
    encoder.set_dtype(dtype)
    embedding = encoder(fbank(100))
    assert embedding.dtype == mx.float32
    assert np.isfinite(np.array(embedding)).all()
    assert cosine(embedding, golden("campplus")["embedding100"]) > 0.99


def test_the_shortest_input_is_finite(encoder: CAMPPlus) -> None:
    assert np.isfinite(np.array(encoder(fbank(57)[:, :3]))).all()


def test_too_few_frames_are_refused(encoder: CAMPPlus) -> None:
    with pytest.raises(ValueError, match="2 frames; the speaker encoder needs at least 3"):
        encoder(fbank(57)[:, :2])


@pytest.mark.parametrize("shape", [(100, 80), (1, 80, 100), (1, 1, 100, 80)])
def test_a_wrong_shape_is_refused(encoder: CAMPPlus, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"fbank must be \[batch, frames, 80\]"):
        encoder(mx.zeros(shape))
