"""`CosyVoice2` on a converted tiny checkpoint: load, take a voice, speak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from converters.convert import convert
from mlx_cosyvoice import CosyVoice2, Voice
from mlx_cosyvoice.audio import AudioError
from mlx_cosyvoice.hub import ModelNotFoundError

SAMPLE = Path(__file__).parent.parent / "parity" / "data" / "sample.wav"


@pytest.fixture(scope="module")
def tts(tiny_model: Path) -> CosyVoice2:
    return CosyVoice2.load(tiny_model)


@pytest.fixture(scope="module")
def voice(tts: CosyVoice2) -> Voice:
    return tts.clone(SAMPLE, "The quick brown fox")


def test_clone_cuts_tokens_and_mel_to_the_same_duration(voice: Voice) -> None:
    assert voice.prompt_feat.shape[1] == 2 * voice.prompt_token.shape[1]
    assert voice.seconds == pytest.approx(soundfile.info(SAMPLE).duration, abs=0.1)
    assert voice.embedding.shape == (1, 192)
    assert voice.prompt_token.dtype == np.int32


def test_speech_is_audible_and_repeats_with_its_seed(tts: CosyVoice2, voice: Voice) -> None:
    first, again, other = (tts.synthesize("Hello.", voice, seed=seed, max_token_text_ratio=4) for seed in (1, 1, 2))
    assert first.dtype == np.float32
    assert first.ndim == 1
    assert tts.sample_rate == 24000
    assert 0.001 < np.abs(first).max() <= 0.99
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_length_lies_within_the_ratios(tts: CosyVoice2, voice: Voice) -> None:
    assert tts.text_tokenizer is not None
    count = len(tts.text_tokenizer.encode("Hello."))
    samples = tts.synthesize("Hello.", voice, min_token_text_ratio=0, max_token_text_ratio=2)
    assert 0 < len(samples) <= 2 * count * 960  # 960 samples a token


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_empty_text_is_refused(tts: CosyVoice2, voice: Voice, text: str) -> None:
    with pytest.raises(ValueError, match="text is empty"):
        tts.synthesize(text, voice)


def test_a_recording_over_30_seconds_is_refused(tts: CosyVoice2, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.sin(np.arange(31 * 16000) / 20).astype(np.float32), 16000)
    with pytest.raises(AudioError, match=r"long\.wav"):
        tts.clone(path, "")


def test_a_model_without_a_component_says_which(tiny_checkpoint: Path, tmp_path: Path, voice: Voice) -> None:
    convert(tiny_checkpoint, tmp_path / "model", components=["llm", "campplus"])
    partial = CosyVoice2.load(tmp_path / "model")
    with pytest.raises(ValueError, match="speech_tokenizer"):
        partial.clone(SAMPLE, "")
    with pytest.raises(ValueError, match="flow, hift"):
        partial.synthesize("Hello.", voice)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_speaks(tiny_checkpoint: Path, tmp_path: Path, voice: Voice, dtype: str) -> None:
    convert(tiny_checkpoint, tmp_path / "model", dtype=dtype)
    tts = CosyVoice2.load(tmp_path / "model")
    assert tts.dtypes["llm"] == tts.dtypes["flow"] == dtype
    samples = tts.synthesize("Hello.", voice, max_token_text_ratio=4)
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() > 0.001


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no such folder"):
        CosyVoice2.load(tmp_path / "nothing")


def test_an_unreachable_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFoundError, match=r"Give a local folder.*python -m converters"):
        CosyVoice2.load("nobody/nothing")


@pytest.mark.parametrize("name", ["a/b/c", "./missing", "plain"])
def test_what_cannot_be_a_hub_id_is_not_looked_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(ModelNotFoundError, match="no such folder"):
        CosyVoice2.load(name)
