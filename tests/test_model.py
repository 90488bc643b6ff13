"""`CosyVoice2` on a converted tiny checkpoint: load, take a voice, speak."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import mlx.core as mx
import numpy as np
import pytest
import soundfile
from mlx.utils import tree_flatten

from converters.convert import convert
from mlx_cosyvoice import CosyVoice2, Voice, weights
from mlx_cosyvoice.audio import AudioError
from mlx_cosyvoice.hub import ModelNotFoundError
from mlx_cosyvoice.quantize import quantized_modules
from mlx_cosyvoice.weights import DTYPES, load_weights
from tests.support.process import ROOT

SAMPLE = ROOT / "parity" / "data" / "sample.wav"


@pytest.fixture(scope="module")
def voice(tts: CosyVoice2) -> Voice:
    return tts.clone(SAMPLE, "The quick brown fox")


def test_clone_cuts_tokens_and_mel_to_the_same_duration(voice: Voice) -> None:
    assert voice.prompt_feat.shape[1] == 2 * voice.prompt_token.shape[1]
    assert voice.seconds == pytest.approx(soundfile.info(SAMPLE).duration, abs=0.1)
    assert voice.embedding.shape == (1, 192)
    assert voice.prompt_token.dtype == np.int32


def test_a_voice_takes_one_reading_of_its_recording(tts: CosyVoice2, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features and checksum then belong together, also where another program writes the file meanwhile."""
    opened, decoded = Mock(side_effect=io.open), Mock(side_effect=soundfile.SoundFile)
    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr(soundfile, "SoundFile", decoded)
    voice = tts.clone(SAMPLE)
    assert [call.args[0] for call in opened.call_args_list].count(SAMPLE) == 1
    assert decoded.call_count == 1
    assert voice.provenance["sha256"] == hashlib.sha256(SAMPLE.read_bytes()).hexdigest()


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


def float_dtypes(tts: CosyVoice2) -> set[mx.Dtype]:
    """Of the weights of language model and flow, but for the noise that is float32 in every model."""
    parts: list[Any] = [tts.llm, tts.flow]
    parameters: list[Any] = [item for part in parts for item in tree_flatten(part.parameters())]
    return {value.dtype for name, value in parameters if name != "decoder.rand_noise"}


@pytest.fixture(scope="module", params=["bfloat16", "float16"])
def half_model(request: pytest.FixtureRequest, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(tiny_checkpoint, tmp_path_factory.mktemp("half") / request.param, dtype=request.param).out


def test_half_precision_speaks(half_model: Path, voice: Voice) -> None:
    tts = CosyVoice2.load(half_model, dtype=None)
    assert tts.dtypes == tts.stored_dtypes
    assert tts.dtypes["llm"] == tts.dtypes["flow"] == half_model.name
    assert float_dtypes(tts) == {DTYPES[half_model.name]}
    samples = tts.synthesize("Hello.", voice, max_token_text_ratio=4)
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() > 0.001


def test_on_the_cpu_half_precision_is_computed_in_float32(
    half_model: Path, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlx_cosyvoice.loading.in_cpu_form", lambda: True)
    tts, explicit = CosyVoice2.load(half_model), CosyVoice2.load(half_model, dtype="float32")
    for loaded in (tts, explicit):
        assert set(loaded.dtypes.values()) == {"float32"}
        assert loaded.stored_dtypes["llm"] == half_model.name
        assert float_dtypes(loaded) == {mx.float32}
    stored = load_weights(half_model)["flow.encoder_proj.weight"]
    assert tts.flow is not None
    assert mx.array_equal(tts.flow.encoder_proj.weight, stored.astype(mx.float32))
    first, second = (loaded.synthesize("Hello.", voice, max_token_text_ratio=4) for loaded in (tts, explicit))
    assert np.array_equal(first, second)


def test_elsewhere_half_precision_is_computed_in_as_it_is_stored(
    half_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlx_cosyvoice.loading.in_cpu_form", lambda: False)
    tts = CosyVoice2.load(half_model)
    assert tts.dtypes == tts.stored_dtypes
    assert float_dtypes(tts) == {DTYPES[half_model.name]}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_float32_model_in_another_dtype(tiny_model: Path, dtype: str) -> None:
    tts = CosyVoice2.load(tiny_model, dtype=dtype)
    assert set(tts.dtypes.values()) == {dtype}
    assert set(tts.stored_dtypes.values()) == {"float32"}
    assert float_dtypes(tts) == {DTYPES[dtype]}


@pytest.mark.parametrize("cpu", [True, False])
def test_packed_weights_are_unpacked_on_the_cpu_only(
    cpu: bool, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = convert(tiny_checkpoint, tmp_path / "packed", dtype="bfloat16", quantize=4).out
    monkeypatch.setattr("mlx_cosyvoice.loading.in_cpu_form", lambda: cpu)
    tts, packed = CosyVoice2.load(folder), CosyVoice2.load(folder, dtype=None)
    assert tts.llm is not None
    assert packed.llm is not None
    layers = quantized_modules(packed.llm)
    assert layers
    if not cpu:
        assert quantized_modules(tts.llm).keys() == layers.keys()
        return
    assert not quantized_modules(tts.llm)
    assert float_dtypes(tts) == {mx.float32}
    modules = dict(tts.llm.named_modules())
    stored = load_weights(folder)
    for path, layer in layers.items():
        scales, biases = (stored[f"llm.{path}.{part}"].astype(mx.float32) for part in ("scales", "biases"))
        full = mx.dequantize(layer.weight, scales, biases, group_size=layer.group_size, bits=layer.bits)
        assert mx.array_equal(modules[path]["weight"], full), path


def test_a_model_folder_is_opened_once_for_all_components(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spies = {name: Mock(side_effect=getattr(weights, name)) for name in ("load_weights", "read_config")}
    for name, spy in spies.items():
        monkeypatch.setattr(weights, name, spy)
    assert CosyVoice2.load(tiny_model).llm is not None
    assert [spy.call_count for spy in spies.values()] == [1, 1]


def test_no_weight_is_read_before_it_is_used(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    before = mx.get_active_memory()
    tts = CosyVoice2.load(folder)
    assert mx.get_active_memory() - before < 0.01 * (folder / "model.safetensors").stat().st_size
    assert tts.hift is not None
    mx.eval(tts.hift.parameters())
    held = sum(value.nbytes for value in dict(tree_flatten(tts.hift.parameters())).values())
    assert held <= mx.get_active_memory() - before < 1.2 * held


def test_a_damaged_tokenizer_is_found_when_the_model_is_loaded(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer\.json"):
        CosyVoice2.load(folder)


def test_an_unknown_dtype_is_refused_before_the_folder_is_looked_for() -> None:
    with pytest.raises(ValueError, match=r"dtype must be auto, one of float32.* or None \(as stored\), not 'int8'"):
        CosyVoice2.load("nothing/at/all", dtype="int8")


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
