"""CAM++ through its ONNX file: synthetic and real weights, with ONNX Runtime as a third witness.

ONNX Runtime before 1.31 divides the last pooling segment by 100 in graphs exported with count_include_pad=1; the
graphs here leave that attribute out, as the published one does, so every version is a fair witness.
"""

from dataclasses import asdict
from pathlib import Path

import mlx.core as mx
import numpy as np
import onnxruntime
import pytest
import torch

from converters.onnx_campplus import campplus_config, read_campplus
from mlx_cosyvoice.config import SpeakerEncoderConfig, from_dict
from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.speaker_encoder import CAMPPlus
from reference import campplus
from reference.synthetic import recipe
from reference.synthetic.onnx_campplus import write_campplus
from tests.support.embeddings import cosine
from tests.support.golden import as_torch, assert_close
from tests.support.weights import real_weights

CLIPS = (
    *("AISHELL_0764_121", "AISHELL_0764_122", "zero_shot_prompt", "cross_lingual", "3dspk_a", "3dspk_b", "3dspk_c"),
    *("michael_4", "michael_5", "heart_1", "heart_2", "en_man", "en_woman"),
)


class Witnesses:
    """The three implementations of one ONNX file: fbank [B, T, 80] to embedding [B, 192], NumPy in and out."""

    def __init__(self, path: Path) -> None:
        tensors = read_campplus(path)
        config = campplus_config(tensors)
        self._torch = campplus.build(config)
        self._torch.load_state_dict(as_torch(tensors), strict=True)
        self._mlx = load_official(CAMPPlus(from_dict(SpeakerEncoderConfig, config)), tensors, str(path))
        self._onnx = onnxruntime.InferenceSession(path)

    def torch(self, fbank: np.ndarray) -> np.ndarray:
        return self._torch(torch.from_numpy(fbank)).numpy()

    def mlx(self, fbank: np.ndarray) -> np.ndarray:
        return np.array(self._mlx(mx.array(fbank)))

    def onnx(self, fbank: np.ndarray) -> np.ndarray:
        return self._onnx.run(None, {"input": fbank})[0]


def unfolded(config: dict, seed: int) -> campplus.CAMPPlus:
    """The network of a synthetic file with its BatchNorms as the recipe made them."""
    network = campplus.build(config)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    network.load_state_dict(
        as_torch({key: recipe.parameter(f"campplus.{key}", shape, seed) for key, shape in shapes.items()})
    )
    return network


@pytest.mark.parametrize("size", ["small", pytest.param("full", marks=pytest.mark.slow)])
def test_folding_changes_nothing(size: str, tmp_path: Path) -> None:
    small = SpeakerEncoderConfig(growth_rate=8, bn_size=2, init_channels=16, num_layers=(2, 1, 2))
    config = asdict(small if size == "small" else SpeakerEncoderConfig())
    path = tmp_path / "campplus.onnx"
    write_campplus(path, config, seed=3)
    witnesses, network = Witnesses(path), unfolded(config, seed=3)
    for batch, frames in ((1, 348), (2, 100), (3, 57), (1, 3)):
        fbank = recipe.unit(f"input/fbank{frames}", (batch, frames, 80)) * np.float32(2)
        expected = network(torch.from_numpy(fbank)).numpy()
        assert_close(witnesses.torch(fbank), expected, 1e-5, f"reference, {frames} frames")
        assert_close(witnesses.mlx(fbank), expected, 1e-5, f"MLX, {frames} frames")
        assert_close(witnesses.onnx(fbank), expected, 1e-5, f"ONNX Runtime, {frames} frames")


@pytest.fixture(scope="module")
def trained() -> Witnesses:
    return Witnesses(real_weights("campplus.onnx"))


@pytest.fixture(scope="module")
def speech() -> dict[str, np.ndarray]:
    return dict(np.load(real_weights("campplus_golden.npz")))


@pytest.mark.parametrize("clip", CLIPS)
def test_real_weights_on_real_speech(clip: str, trained: Witnesses, speech: dict[str, np.ndarray]) -> None:
    expected = speech[f"torch_{clip}"]
    assert cosine(trained.torch(speech[clip]), expected) >= 0.999999
    assert cosine(trained.mlx(speech[clip]), expected) >= 0.99999


def test_the_clips_are_all_there_are(speech: dict[str, np.ndarray]) -> None:
    assert {name.removeprefix("torch_") for name in speech} == set(CLIPS)


@pytest.mark.parametrize("clip", ["3dspk_c", "michael_4"])
def test_onnx_runtime_agrees_on_real_weights(clip: str, trained: Witnesses, speech: dict[str, np.ndarray]) -> None:
    assert cosine(trained.onnx(speech[clip]), speech[f"torch_{clip}"]) >= 0.99999


def test_real_weights_tell_speakers_apart(trained: Witnesses, speech: dict[str, np.ndarray]) -> None:
    first, second, other = (trained.mlx(speech[clip][:, :400]) for clip in (*CLIPS[:2], "en_woman"))
    assert cosine(first, second) > 0.75
    assert cosine(first, other) < 0.4


def test_tiny_export_with_shared_tensors(speech: dict[str, np.ndarray]) -> None:
    """An export that stores equal biases once, behind Identity nodes."""
    witnesses = Witnesses(real_weights("tiny_campplus.onnx"))
    fbank = speech["3dspk_c"]
    expected = witnesses.onnx(fbank)
    assert cosine(witnesses.torch(fbank), expected) >= 0.999999
    assert cosine(witnesses.mlx(fbank), expected) >= 0.999999
