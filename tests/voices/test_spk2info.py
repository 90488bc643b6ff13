"""The official `spk2info.pt`, as torch writes it, and the `spk2info.safetensors` of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from mlx_cosyvoice.voices import (
    UnknownVoiceError,
    Voice,
    VoiceError,
    VoiceLibrary,
    import_voices,
    read_spk2info,
    read_spk2info_safetensors,
    read_voices,
    write_spk2info_safetensors,
)
from tests.support.voices import assert_same_voice, make_voice, sft_entry, zero_shot_entry


def spk2info(folder: Path, **speakers: Any) -> Path:
    path = folder / "spk2info.pt"
    torch.save(speakers, path)
    return path


def test_an_sft_speaker(tmp_path: Path) -> None:
    entry = sft_entry()
    found = read_spk2info(spk2info(tmp_path, 中文女=entry, 英文男=sft_entry(1)))
    assert list(found) == ["中文女", "英文男"]
    voice = found["中文女"]
    assert np.array_equal(voice.embedding, entry["embedding"].numpy())
    assert voice.prompt_token.shape == (1, 0)
    assert voice.prompt_feat.shape == (1, 0, 80)
    assert (voice.transcript, voice.prompt_text) == ("", None)
    assert voice.provenance == {"source": "spk2info.pt", "speaker": "中文女"}


def test_a_zero_shot_speaker(tmp_path: Path) -> None:
    """Entries hold views of larger tensors, as the official frontend cuts them."""
    entry = zero_shot_entry()
    voice = read_spk2info(spk2info(tmp_path, anna=entry))["anna"]
    assert np.array_equal(voice.prompt_token, entry["flow_prompt_speech_token"].numpy())
    assert np.array_equal(voice.prompt_feat, entry["prompt_speech_feat"].numpy())
    assert np.array_equal(voice.embedding, entry["flow_embedding"].numpy())
    assert voice.prompt_text == (9707, 151643, 3)
    assert voice.transcript == ""


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(tmp_path: Path, dtype: torch.dtype) -> None:
    entry = {key: value.to(dtype) if value.is_floating_point() else value for key, value in zero_shot_entry().items()}
    voice = read_spk2info(spk2info(tmp_path, anna=entry))["anna"]
    assert voice.prompt_feat.dtype == np.float32
    assert np.array_equal(voice.prompt_feat, entry["prompt_speech_feat"].float().numpy())


@pytest.mark.parametrize("embedding", [torch.ones(192), [1.0] * 192, [[1.0] * 192]], ids=["1-D", "list", "lists"])
def test_other_embeddings(tmp_path: Path, embedding: Any) -> None:
    voice = read_spk2info(spk2info(tmp_path, anna={"embedding": embedding, "speech_feat": torch.zeros(3)}))["anna"]
    assert np.array_equal(voice.embedding, np.ones((1, 192)))


def test_an_empty_transcript_is_none(tmp_path: Path) -> None:
    entry = zero_shot_entry() | {"prompt_text": torch.zeros(1, 0, dtype=torch.int32)}
    assert read_spk2info(spk2info(tmp_path, anna=entry))["anna"].prompt_text is None


def test_no_speakers(tmp_path: Path) -> None:
    assert read_spk2info(spk2info(tmp_path)) == {}


@pytest.mark.parametrize(("content", "message"), [
    ([1], "must hold a dict of speakers, not list"),
    ({3: {}}, "names of speakers must be text, not 3"),
    ({"a": 3}, "speaker 'a' must be a dict, not int"),
    ({"a": {}}, "speaker 'a' has no embedding, but nothing"),
    ({"a": {"x": 1, "y": 2}}, "speaker 'a' has no embedding, but x, y"),
    ({"a": {"embedding": torch.zeros(1, 256)}}, r"speaker 'a': embedding: must have the shape \[1, 192\]"),
    ({"a": {"embedding": torch.full((1, 192), torch.nan)}}, "speaker 'a': embedding: 192 of 192 values are NaN"),
    ({"a": {"embedding": "x"}}, "speaker 'a': embedding: must hold floating"),
    ({"a": {"embedding": [[1.0], []]}}, "speaker 'a': "),
    ({"a": zero_shot_entry() | {"prompt_speech_feat": torch.zeros(1, 15, 80)}}, "speaker 'a': prompt_feat: must"),
    ({"a": {k: v for k, v in zero_shot_entry().items() if k != "prompt_speech_feat"}}, "speaker 'a': prompt_feat: "),
    ({"a": zero_shot_entry() | {"llm_prompt_speech_token": torch.zeros(1, 3)}}, "speaker 'a': llm_prompt_speech_token"),
    ({"a": zero_shot_entry() | {"prompt_text": "hello"}}, "speaker 'a': prompt_text: must be token ids"),
])  # fmt: skip
def test_what_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "spk2info.pt")
    with pytest.raises(VoiceError, match=rf"spk2info\.pt: {message}"):
        read_spk2info(tmp_path / "spk2info.pt")


def test_the_file_of_a_model_folder(tmp_path: Path) -> None:
    voices = {
        "中文女": make_voice(0, tokens=0, transcript="", provenance={}),
        "b/a%2F": make_voice(1),
        "a": make_voice(2, prompt_text=(1, 2), transcript=""),
        "": make_voice(3, tokens=0),
    }
    path = tmp_path / "spk2info.safetensors"
    write_spk2info_safetensors(path, voices)
    found = read_spk2info_safetensors(path)
    assert list(found) == list(voices)
    for name, voice in voices.items():
        assert_same_voice(found[name], voice)
    assert set(load_file(path)) == {
        "中文女/embedding", "/embedding", "a/embedding", "a/prompt_feat", "a/prompt_token",
        "b%2Fa%252F/embedding", "b%2Fa%252F/prompt_feat", "b%2Fa%252F/prompt_token",
    }  # fmt: skip
    with safe_open(path, "numpy") as file:
        assert (file.metadata()["format"], file.metadata()["version"]) == ("mlx-cosyvoice speakers", "1")


def test_the_file_of_a_model_folder_may_be_empty_and_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "spk2info.safetensors"
    write_spk2info_safetensors(path, {})
    assert read_spk2info_safetensors(path) == {}
    with pytest.raises(FileExistsError):
        write_spk2info_safetensors(path, {"a": make_voice()})
    write_spk2info_safetensors(path, {"a": make_voice()}, force=True)
    assert list(read_spk2info_safetensors(path)) == ["a"]


@pytest.mark.parametrize(("tensors", "voices", "message"), [
    ({}, {"a": {}}, "speaker 'a': embedding: no such tensor"),
    ({"a/embedding": np.zeros((1, 192), np.float32)}, {}, "tensors that belong to no speaker: a/embedding"),
    ({"a/embedding": np.zeros((1, 192), np.float32)}, {"a": 3}, "speaker 'a': metadata voices must hold objects"),
    ({"a/embedding": np.zeros((1, 2), np.float32)}, {"a": {}}, r"speaker 'a': embedding: must have the shape"),
    ({"a/embedding": np.zeros((1, 192), np.float32)}, {"a": {"transcript": 3}}, "speaker 'a': transcript: must be"),
    ({"a/embedding": np.zeros((1, 192), np.float32)}, {"a": {"prompt_text": 3}}, "speaker 'a': prompt_text: must be"),
    ({"a/embedding": np.zeros((1, 192), np.float32)}, {"a": {"provenance": 3}}, "speaker 'a': provenance: must map"),
    ({"a/embedding": np.zeros((1, 192), np.float32), "a/prompt_token": np.zeros((1, 2), np.int32)}, {"a": {}},
     "speaker 'a': prompt_feat: must hold"),
    ({}, [], "metadata voices must hold a JSON dict"),
])  # fmt: skip
def test_a_damaged_file_of_a_model_folder(tmp_path: Path, tensors: Any, voices: Any, message: str) -> None:
    path = tmp_path / "spk2info.safetensors"
    metadata = {"format": "mlx-cosyvoice speakers", "version": "1", "voices": json.dumps(voices)}
    save_file(tensors, path, metadata)
    with pytest.raises(VoiceError, match=rf"spk2info\.safetensors: {message}"):
        read_spk2info_safetensors(path)
    save_file(tensors, path, metadata | {"version": "2"})
    with pytest.raises(VoiceError, match="version 2 of 'mlx-cosyvoice speakers' is newer than 1"):
        read_spk2info_safetensors(path)


def test_read_voices_tells_the_kinds_apart_by_content(tmp_path: Path) -> None:
    make_voice().save(tmp_path / "anna.safetensors")
    assert list(read_voices(tmp_path / "anna.safetensors")) == ["anna"]
    write_spk2info_safetensors(tmp_path / "x.bin", {"a": make_voice(), "b": make_voice()})
    assert list(read_voices(tmp_path / "x.bin")) == ["a", "b"]
    spk2info(tmp_path, c=sft_entry()).rename(tmp_path / "y.safetensors")
    assert list(read_voices(tmp_path / "y.safetensors")) == ["c"]
    torch.save({}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(VoiceError, match="Save it again"):
        read_voices(tmp_path / "old.pt")
    with pytest.raises(FileNotFoundError, match="nowhere: no such file"):
        read_voices(tmp_path / "nowhere")
    with pytest.raises(VoiceError, match="is not a file"):
        read_voices(tmp_path)
    (tmp_path / "text").write_text("text")
    with pytest.raises(VoiceError, match="text: not a safetensors file"):
        read_voices(tmp_path / "text")


@pytest.fixture
def library(tmp_path: Path) -> VoiceLibrary:
    return VoiceLibrary(tmp_path / "voices")


def test_import_all(tmp_path: Path, library: VoiceLibrary) -> None:
    path = spk2info(tmp_path, 中文女=sft_entry(), anna=zero_shot_entry())
    assert import_voices(library, path) == ["中文女", "anna"]
    for name, voice in read_spk2info(path).items():
        assert_same_voice(library.get(name), voice)


def test_import_some(tmp_path: Path, library: VoiceLibrary) -> None:
    path = spk2info(tmp_path, a=sft_entry(1), b=sft_entry(2), c=sft_entry(3))
    assert import_voices(library, path, speakers=["c", "a"]) == ["c", "a"]
    assert library.names() == ["a", "c"]
    assert import_voices(library, path, speakers=["b"], name="Ben") == ["Ben"]
    assert_same_voice(library.get("Ben"), read_spk2info(path)["b"])


def test_import_adds_all_or_none(tmp_path: Path, library: VoiceLibrary) -> None:
    library.add("b", make_voice(9))
    path = spk2info(tmp_path, a=sft_entry(1), b=sft_entry(2), c=sft_entry(3))
    with pytest.raises(VoiceError, match="the library has 'b' already"):
        import_voices(library, path)
    assert library.names() == ["b"]
    assert_same_voice(library.get("b"), make_voice(9))
    assert import_voices(library, path, force=True) == ["a", "b", "c"]
    assert_same_voice(library.get("b"), read_spk2info(path)["b"])


@pytest.mark.parametrize("names", [("ok", "a/b"), ("ok", "Anna", "anna")])
def test_names_that_a_library_cannot_have(tmp_path: Path, library: VoiceLibrary, names: tuple[str, ...]) -> None:
    path = spk2info(tmp_path, **{name: sft_entry() for name in names})
    for force in (False, True):
        with pytest.raises(VoiceError, match=rf"spk2info\.pt: .*--speaker '{names[-1]}' --name NAME"):
            import_voices(library, path, force=force)
    assert library.names() == []
    assert import_voices(library, path, speakers=[names[-1]], name="other") == ["other"]


def test_import_refuses(tmp_path: Path, library: VoiceLibrary) -> None:
    path = spk2info(tmp_path, a=sft_entry(), b=sft_entry())
    with pytest.raises(UnknownVoiceError, match="has no speaker 'x', but a, b"):
        import_voices(library, path, speakers=["a", "x"])
    with pytest.raises(VoiceError, match=r"has 2 voices, so choose the one to call 'c' \(--speaker\)"):
        import_voices(library, path, name="c")
    with pytest.raises(VoiceError, match="cannot be the name of a voice"):
        import_voices(library, path, speakers=["a"], name="../c")
    with pytest.raises(VoiceError, match="has no voices"):
        import_voices(library, spk2info(tmp_path))
    assert not library.folder.exists()


def test_a_voice_is_the_same_by_each_way(tmp_path: Path, library: VoiceLibrary) -> None:
    [voice] = read_spk2info(spk2info(tmp_path, anna=zero_shot_entry())).values()
    write_spk2info_safetensors(tmp_path / "s.safetensors", {"anna": voice})
    voice.save(tmp_path / "v.safetensors")
    library.add("anna", voice)
    found = [
        read_spk2info_safetensors(tmp_path / "s.safetensors")["anna"],
        Voice.load(tmp_path / "v.safetensors"),
        library.get("anna"),
    ]
    assert {other.fingerprint for other in found} == {voice.fingerprint}
