"""The speech tokenizer through its ONNX file, with ONNX Runtime as a third witness."""

from dataclasses import asdict
from pathlib import Path

import mlx.core as mx
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from converters.onnx_speech_tokenizer import read_speech_tokenizer
from mlx_cosyvoice.config import SpeechTokenizerConfig, from_dict
from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.speech_tokenizer import S3TokenizerV2
from reference import speech_tokenizer
from reference.synthetic import recipe
from reference.synthetic.onnx_speech_tokenizer import write_speech_tokenizer
from tests.support.golden import as_torch, golden
from tests.support.tokens import SIZES, SIZES3, assert_tokens
from tests.support.weights import real_weights

CLIPS = ("BAC009S0764W0121.wav", "BAC009S0764W0122.wav", "zero_shot_prompt.wav", "cross_lingual_prompt.wav")


class Witnesses:
    """The three implementations of one ONNX file: log mel [1, n_mels, T] to tokens [1, T'], NumPy in and out."""

    def __init__(self, path: Path) -> None:
        tensors, self.config = read_speech_tokenizer(path)
        self._torch = speech_tokenizer.build(self.config)
        self._torch.load_state_dict(as_torch(tensors), strict=True)
        config = from_dict(SpeechTokenizerConfig, self.config)
        self._mlx = load_official(S3TokenizerV2(config), tensors, str(path))
        self._onnx = onnxruntime.InferenceSession(path)

    def torch(self, log_mel: np.ndarray) -> np.ndarray:
        return self._torch(torch.from_numpy(log_mel)).numpy()

    def mlx(self, log_mel: np.ndarray) -> np.ndarray:
        return np.array(self._mlx(mx.array(log_mel.transpose(0, 2, 1))))

    def onnx(self, log_mel: np.ndarray, length: int | None = None) -> np.ndarray:
        feeds = {"feats": log_mel, "feats_length": np.array([length or log_mel.shape[2]], np.int32)}
        return self._onnx.run(None, feeds)[0]


@pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("network", "sizes", "opset"), [("speech_tokenizer", SIZES, 17), ("speech_tokenizer3", SIZES3, 16)]
)
def test_a_synthetic_file_gives_the_golden_tokens(
    network: str, sizes: dict[str, SpeechTokenizerConfig], opset: int, size: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{network}.onnx"
    write_speech_tokenizer(path, asdict(sizes[size]), opset=opset)
    assert onnx.load(path, load_external_data=False).opset_import[0].version == opset
    witnesses, file = Witnesses(path), golden(f"{network}.{size}")
    assert witnesses.config == asdict(sizes[size])
    for frames in (301, 100, 96):
        log_mel = recipe.unit(f"input/logmel{frames}", (1, 128, frames)) * np.float32(0.4)
        expected = file[f"codes{frames}"], file[f"fsq_pre_round{frames}"]
        assert_tokens(witnesses.torch(log_mel), *expected)
        assert_tokens(witnesses.mlx(log_mel), *expected)
        assert_tokens(witnesses.onnx(log_mel), *expected)


def test_a_synthetic_file_masks_what_lies_beyond_the_length(tmp_path: Path) -> None:
    path = tmp_path / "speech_tokenizer_v2.onnx"
    write_speech_tokenizer(path, asdict(SIZES["tiny"]))
    session = Witnesses(path)
    log_mel = recipe.unit("input/logmel96", (1, 128, 96)) * np.float32(0.4)
    padded = np.pad(log_mel, [(0, 0), (0, 0), (0, 40)])
    # the last token sees a padded frame through the second convolution
    np.testing.assert_array_equal(session.onnx(padded, 96)[:, :23], session.onnx(log_mel)[:, :23])


@pytest.fixture(scope="module")
def exported() -> Witnesses:
    return Witnesses(real_weights("tiny_speech_tokenizer_v2_official_ids.onnx"))


@pytest.fixture(scope="module")
def speech() -> dict[str, np.ndarray]:
    return dict(np.load(real_weights("tiny_s3_golden.npz")))


def test_sizes_come_from_the_graph(exported: Witnesses) -> None:
    assert exported.config == {
        "n_mels": 128,
        "n_audio_state": 64,
        "n_audio_head": 4,
        "n_audio_layer": 2,
        "attn_ln_eps": 1e-6,
        "mlp_ln_eps": 1e-5,
    }


@pytest.mark.parametrize("clip", CLIPS)
def test_exported_file_gives_the_stored_tokens(clip: str, exported: Witnesses, speech: dict[str, np.ndarray]) -> None:
    expected = speech[f"tok_{clip}"]
    np.testing.assert_array_equal(exported.torch(speech[clip]), expected)
    np.testing.assert_array_equal(exported.mlx(speech[clip]), expected)
    np.testing.assert_array_equal(exported.onnx(speech[clip]), expected)


def test_the_clips_are_all_there_are(speech: dict[str, np.ndarray]) -> None:
    assert {name.removeprefix("tok_") for name in speech} == set(CLIPS)
