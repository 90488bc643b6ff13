"""`Voice`: what it accepts, its fingerprint, and its file."""

from __future__ import annotations

import copy
import dataclasses
import errno
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

import mlx_cosyvoice
from mlx_cosyvoice.voices import Voice, VoiceError
from mlx_cosyvoice.voices.voice import FORMAT
from tests.support.voices import assert_same_voice, make_voice

TENSORS = ("prompt_token", "prompt_feat", "embedding")


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed.flat[3] = value
    return changed


def test_the_package_exports_it() -> None:
    assert mlx_cosyvoice.Voice is Voice


def test_arrays_are_copied_converted_and_read_only() -> None:
    feat = np.zeros((1, 4, 80), np.float64)
    voice = Voice(np.array([[5, 6560]]), feat, np.zeros((1, 192), np.float16))
    assert [getattr(voice, name).dtype for name in TENSORS] == [np.int32, np.float32, np.float32]
    feat[:] = 1
    assert not voice.prompt_feat.any()
    for name in TENSORS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(voice, name)[0, 0] = 1
    assert voice.seconds == 2 / 25
    assert (voice.transcript, voice.prompt_text, voice.provenance) == ("", None, {})


def test_mlx_takes_its_arrays_and_gives_them() -> None:
    voice = make_voice()
    assert mx.array_equal(mx.array(voice.prompt_token), mx.array(np.array(voice.prompt_token)))
    arrays: dict[str, Any] = {name: mx.array(getattr(voice, name)) for name in TENSORS}
    assert_same_voice(dataclasses.replace(voice, **arrays), voice)


def test_no_tokens_are_a_speaker_without_recording() -> None:
    voice = make_voice(tokens=0)
    assert voice.seconds == 0
    assert voice.prompt_feat.shape == (1, 0, 80)


@pytest.mark.parametrize(
    ("families", "fits"), [((), True), (("cosyvoice2",), False), (("cosyvoice2", "cosyvoice3"), True)]
)
def test_it_says_which_models_can_continue_its_recording(tmp_path: Path, families: Any, fits: bool) -> None:
    voice = make_voice(families=families)
    voice.save(tmp_path / "a.safetensors")
    loaded = Voice.load(tmp_path / "a.safetensors")
    assert loaded.families == families
    assert loaded.fits("cosyvoice3") is fits
    assert make_voice(tokens=0, families=families).fits("cosyvoice3")
    assert dataclasses.replace(voice, families=("x",)).fingerprint == voice.fingerprint


@pytest.mark.parametrize(("tokens", "families"), [(7, ("cosyvoice2",)), (0, ())])
def test_a_file_that_does_not_say_so_is_of_the_first_family(tmp_path: Path, tokens: int, families: Any) -> None:
    path, voice = tmp_path / "a.safetensors", make_voice(tokens=tokens)
    metadata = {"format": FORMAT, "version": "1", "transcript": voice.transcript, "provenance": "{}"}
    save_file({name: getattr(voice, name) for name in TENSORS}, path, metadata)
    assert Voice.load(path).families == families


def test_its_repr_has_no_arrays() -> None:
    text = repr(make_voice())
    assert "Hello" in text
    assert len(text) < 200


def test_it_can_be_copied_and_pickled() -> None:
    voice = make_voice(prompt_text=(1, 2))
    assert voice.fingerprint
    for twin in (copy.deepcopy(voice), pickle.loads(pickle.dumps(voice)), dataclasses.replace(voice)):
        assert_same_voice(twin, voice)
        assert twin.fingerprint == voice.fingerprint


@pytest.mark.parametrize(("name", "value", "message"), [
    ("prompt_token", np.zeros((7,), np.int32), r"prompt_token: must have the shape \[1, any\], not \[7\]"),
    ("prompt_token", np.zeros((2, 7), np.int32), "prompt_token: must have the shape"),
    ("prompt_token", np.zeros((1, 7), np.float32), "prompt_token: must hold integer numbers, not float32"),
    ("prompt_token", np.zeros((1, 7), bool), "prompt_token: must hold integer numbers, not bool"),
    ("prompt_token", np.full((1, 7), 6561), r"prompt_token: values must lie in 0\.\.6560, not in 6561\.\.6561"),
    ("prompt_token", np.full((1, 7), 2**32 + 5), "prompt_token: values must lie in"),
    ("prompt_token", with_value(np.zeros((1, 7), np.int32), -1), r"prompt_token: .* not in -1\.\.0"),
    ("prompt_token", [[1, 2], [3]], "prompt_token: is not an array"),
    ("prompt_token", None, "prompt_token: must hold"),
    ("prompt_feat", np.zeros((1, 13, 80), np.float32), "prompt_feat: must have 2 frames a token, so 14 for 7 tokens"),
    ("prompt_feat", np.zeros((1, 80, 14), np.float32), r"prompt_feat: must have the shape \[1, any, 80\]"),
    ("prompt_feat", np.zeros((1, 14, 80), np.int32), "prompt_feat: must hold floating numbers"),
    ("prompt_feat", with_value(np.zeros((1, 14, 80)), np.nan), "prompt_feat: 1 of 1120 values are NaN or infinite"),
    ("prompt_feat", with_value(np.zeros((1, 14, 80)), 1e300), "prompt_feat: 1 of 1120 values are NaN or infinite"),
    ("embedding", np.zeros((192,), np.float32), r"embedding: must have the shape \[1, 192\]"),
    ("embedding", np.zeros((1, 191), np.float32), r"embedding: must have the shape \[1, 192\], not \[1, 191\]"),
    ("embedding", with_value(np.zeros((1, 192)), -np.inf), "embedding: 1 of 192 values"),
    ("transcript", None, "transcript: must be text, not NoneType"),
    ("transcript", "\udce4", "transcript: is not valid Unicode"),
    ("prompt_text", (), "prompt_text: is empty; give None"),
    ("prompt_text", (1, -2), "prompt_text: token ids must lie in"),
    ("prompt_text", (1.5,), "prompt_text: must be token ids"),
    ("prompt_text", "12", "prompt_text: must be token ids"),
    ("prompt_text", 12, "prompt_text: must be token ids"),
    ("provenance", {"source": 3}, "provenance source: must be text, not int"),
    ("provenance", ["source"], "provenance: must map names to text"),
])  # fmt: skip
def test_what_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(VoiceError, match=message):
        make_voice(**{name: value})


def test_the_fingerprint_is_over_what_is_heard() -> None:
    voice = make_voice()
    changed: list[dict[str, Any]] = [
        {"prompt_token": with_value(voice.prompt_token, 1)},
        {"prompt_feat": with_value(voice.prompt_feat, 0.5)},
        {"embedding": with_value(voice.embedding, 0.5)},
        {"transcript": "Hello"},
        {"prompt_text": (1,)},
    ]
    prints = [dataclasses.replace(voice, **change).fingerprint for change in changed]
    assert len({*prints, voice.fingerprint}) == 6
    assert dataclasses.replace(voice, provenance={}).fingerprint == voice.fingerprint
    assert make_voice().fingerprint == voice.fingerprint
    assert len(voice.fingerprint) == 64


@pytest.mark.parametrize("changes", [
    {}, {"tokens": 0}, {"tokens": 1}, {"transcript": ""}, {"transcript": 'a\n"b"\x00\t😀'}, {"provenance": {}},
    {"prompt_text": (0, 151936)}, {"provenance": {"": "", "source": "Stimme ä.wav", "x/y": "\n"}},
], ids=str)  # fmt: skip
def test_save_and_load(tmp_path: Path, changes: dict[str, Any]) -> None:
    voice = make_voice(**changes)
    path = tmp_path / "voice"
    voice.save(path)
    assert_same_voice(Voice.load(str(path)), voice)
    assert Voice.load(path).fingerprint == voice.fingerprint
    assert os.listdir(tmp_path) == ["voice"]


@settings(deadline=None)
@given(transcript=st.text(), tokens=st.lists(st.integers(0, 6560), max_size=5), ids=st.lists(st.integers(0, 2**31 - 1)))
def test_any_voice_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, transcript: str, tokens: list[int], ids: list[int]
) -> None:
    voice = make_voice(
        tokens=len(tokens),
        prompt_token=np.array([tokens], np.int32),
        transcript=transcript,
        prompt_text=tuple(ids) or None,
    )
    path = tmp_path_factory.mktemp("voice") / "v.safetensors"
    voice.save(path)
    assert_same_voice(Voice.load(path), voice)


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    make_voice(prompt_text=(1, 2)).save(tmp_path / "v.safetensors")
    with safe_open(tmp_path / "v.safetensors", "numpy") as file:
        assert sorted(file.keys()) == sorted(TENSORS)
        assert file.metadata() == {
            "format": "mlx-cosyvoice voice",
            "version": "1",
            "transcript": "Hello, 你好.",
            "prompt_text": "[1, 2]",
            "provenance": '{"source": "a b.wav"}',
            "families": "[]",
        }


def test_the_same_voice_gives_the_same_bytes(tmp_path: Path) -> None:
    for number in range(8):
        make_voice(prompt_text=(1, 2)).save(tmp_path / str(number))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_no_file_is_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    first, second = make_voice(1), make_voice(2)
    first.save(path)
    with pytest.raises(FileExistsError, match=r"v\.safetensors exists; give force=True"):
        second.save(path)
    assert_same_voice(Voice.load(path), first)
    second.save(path, force=True)
    assert_same_voice(Voice.load(path), second)
    assert os.listdir(tmp_path) == [path.name]


def test_a_broken_link_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        make_voice().save(tmp_path / "link")
    assert os.listdir(tmp_path) == ["link"]


def test_where_it_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere does not exist"):
        make_voice().save(tmp_path / "nowhere" / "v")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        make_voice().save(tmp_path, force=True)


@pytest.mark.parametrize("force", [False, True])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool) -> None:
    path = tmp_path / "v.safetensors"
    if force:
        make_voice(1).save(path)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        make_voice(2).save(path, force=force)
    assert os.listdir(tmp_path) == ([path.name] if force else [])
    if force:
        assert_same_voice(Voice.load(path), make_voice(1))


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_of_two_who_write_at_once_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """Both have seen that there is no such file, and are about to give theirs that name."""
    both = threading.Barrier(2)
    sync, outcomes = os.fsync, []

    def wait(number: int) -> None:
        sync(number)
        both.wait(timeout=120)

    def no_link(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fsync", wait)
    if not links:
        monkeypatch.setattr(os, "link", no_link)

    def save(seed: int) -> None:
        try:
            make_voice(seed).save(tmp_path / "v")
            outcomes.append(seed)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=save, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 1
    assert_same_voice(Voice.load(tmp_path / "v"), make_voice(outcomes[0]))
    assert os.listdir(tmp_path) == ["v"]


def test_the_file_has_the_usual_permissions(tmp_path: Path) -> None:
    make_voice().save(tmp_path / "v")
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "v").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_every_truncation_is_reported(tmp_path: Path) -> None:
    make_voice().save(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    path = tmp_path / "cut.safetensors"
    for length in (0, 5, 8, 9, 100, header - 1, header, header + 1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(VoiceError, match=r"cut\.safetensors: ") as caught:
            Voice.load(path)
        assert ("cut off" if length > 8 else "not a safetensors file") in str(caught.value)


@pytest.mark.parametrize("content", [b"this is not a voice" * 50, b"\x00" * 500, b"PK\x03\x04" * 9, b"\xff" * 64])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.safetensors").write_bytes(content)
    with pytest.raises(VoiceError, match=r"v\.safetensors: not a safetensors file"):
        Voice.load(tmp_path / "v.safetensors")


@pytest.mark.parametrize("header", [b"{nonsense}", b'{"a": 3}', b'{"a": {}}', b'{"a": {"data_offsets": [0, "x"]}}'])
def test_a_damaged_header_is_reported(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "v.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(VoiceError, match=r"v\.safetensors: damaged, its header"):
        Voice.load(tmp_path / "v.safetensors")


def test_trailing_bytes_are_reported(tmp_path: Path) -> None:
    make_voice().save(tmp_path / "v")
    with (tmp_path / "v").open("ab") as file:
        file.write(b"more")
    with pytest.raises(VoiceError, match="v: cannot be read"):
        Voice.load(tmp_path / "v")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no such file"):
        Voice.load(tmp_path / "nowhere")
    with pytest.raises(VoiceError, match="is a folder, not a mlx-cosyvoice voice file"):
        Voice.load(tmp_path)


@pytest.mark.parametrize(("key", "value", "message"), [
    ("format", "pt", "metadata format is 'pt', not 'mlx-cosyvoice voice'"),
    ("format", None, "metadata format is None"),
    ("version", "2", "version 2 of 'mlx-cosyvoice voice' is newer than 1, the latest .* upgrade it"),
    ("version", "0", "metadata version must be a whole number"),
    ("version", None, "metadata version must be a whole number"),
    ("version", "one", "metadata version must be a whole number"),
    ("prompt_text", "[1,", "metadata prompt_text is not JSON"),
    ("prompt_text", "{}", "metadata prompt_text must hold a JSON list"),
    ("prompt_text", '["a"]', "prompt_text: must be token ids"),
    ("prompt_text", "[]", "prompt_text: is empty"),
    ("provenance", "[]", "metadata provenance must hold a JSON dict"),
    ("provenance", '{"a": 1}', "provenance a: must be text"),
    ("prompt_token", None, "lacks prompt_token"),
    ("prompt_feat", None, "lacks prompt_feat"),
    ("embedding", None, "lacks embedding"),
    ("embedding", np.zeros((1, 5), np.float32), r"embedding: must have the shape \[1, 192\], not \[1, 5\]"),
    ("prompt_token", np.full((1, 7), 7000, np.int32), "prompt_token: values must lie in"),
])  # fmt: skip
def test_a_file_is_checked_when_it_is_read(tmp_path: Path, key: str, value: Any, message: str) -> None:
    voice = make_voice()
    tensors = {name: np.array(getattr(voice, name)) for name in TENSORS}
    metadata = {"format": FORMAT, "version": "1"}
    into: dict[str, Any] = tensors if key in TENSORS else metadata
    if value is None:
        del into[key]
    else:
        into[key] = value
    save_file(tensors, tmp_path / "v.safetensors", metadata)
    with pytest.raises(VoiceError, match=rf"v\.safetensors: {message}"):
        Voice.load(tmp_path / "v.safetensors")


def test_a_model_is_not_a_voice(tmp_path: Path) -> None:
    mx.save_safetensors(str(tmp_path / "m.safetensors"), {"x": mx.zeros((2, 2), dtype=mx.bfloat16)})
    with pytest.raises(VoiceError, match="another kind of file"):
        Voice.load(tmp_path / "m.safetensors")
