"""Model folders, voices and speakers from strangers: each is refused in one line, by the API and by the command."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import mlx.core as mx
import pytest

from mlx_cosyvoice import CosyVoice2, Voice
from mlx_cosyvoice.cli import main
from mlx_cosyvoice.voices import read_voices, write_spk2info_safetensors
from mlx_cosyvoice.weights import ModelFolderError
from tests.hostile import folder_inputs, pt_inputs, tokenizer_inputs, voice_inputs
from tests.hostile.harness import Hostile, Inputs, check_message, in_part, listing, refusal
from tests.support.voices import make_voice

_TOKENIZER, _SPEAKERS, _VOICE = tokenizer_inputs.FILE, voice_inputs.SPEAKERS, voice_inputs.VOICE

FOLDERS = Inputs(
    [
        *folder_inputs.INPUTS,
        *tokenizer_inputs.INPUTS,
        *folder_inputs.in_place_of(_TOKENIZER),
        *(one for one in voice_inputs.INPUTS if one.file == _SPEAKERS),
        *folder_inputs.in_place_of(_SPEAKERS),
    ]
)
VOICES = Inputs(
    [
        *voice_inputs.INPUTS,
        *folder_inputs.in_place_of(_VOICE),
        *pt_inputs.INPUTS,
        *folder_inputs.in_place_of(pt_inputs.FILE),
    ]
)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A valid model with speakers, of which every file but the weights may be written to."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path in tiny_model.iterdir():
        (os.link if path.suffix == ".safetensors" else shutil.copyfile)(path, folder / path.name)
    (folder / _SPEAKERS).unlink(missing_ok=True)
    write_spk2info_safetensors(folder / _SPEAKERS, {"anna": make_voice()})
    return folder


def write(hostile: Hostile, folder: Path) -> Path:
    """The hostile file. A valid one that is a link into another folder is not written to."""
    path = folder / hostile.file
    if path.name == folder_inputs.WEIGHTS and path.exists():
        path.unlink()
        path.write_bytes(b"")
    if path.name in (_TOKENIZER, _SPEAKERS) and hostile.name != "added-more-than-rows":
        # They are read after the networks are built, which takes the longer, the more there are.
        folder_inputs.set_fields(folder / folder_inputs.CONFIG, {"components": ["hift"]})
    hostile.write(path)
    return path


def refused_by_command(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    check_message(lines[0])
    return lines[0]


def test_the_valid_ones_are_read(model: Path, tmp_path: Path) -> None:
    """So that the tests below test what they say."""
    assert list(CosyVoice2.load(model).speakers) == ["anna"]
    make_voice().save(tmp_path / _VOICE)
    assert Voice.load(tmp_path / _VOICE).prompt_token.size == 7
    (tmp_path / pt_inputs.FILE).write_bytes(pt_inputs.archive(pt_inputs.speaker(pt_inputs.tensor())))
    assert list(read_voices(tmp_path / pt_inputs.FILE)) == ["anna"]


@pytest.mark.parametrize("hostile", in_part(FOLDERS), ids=str)
def test_a_hostile_folder(hostile: Hostile, model: Path) -> None:
    write(hostile, model)
    before = listing(model.parent)
    assert str(model) in refusal(lambda: CosyVoice2.load(model), *hostile.words)
    assert listing(model.parent) == before


@pytest.mark.parametrize("hostile", FOLDERS[::12], ids=str)
def test_a_hostile_folder_given_to_a_command(hostile: Hostile, model: Path, capsys: pytest.CaptureFixture) -> None:
    write(hostile, model)
    out = model / "x.wav"
    message = refused_by_command(capsys, "speak", "Hi.", "--model", model, "--speaker", "anna", "--out", out)
    check_message(message, *hostile.words)
    assert not out.exists()


def voice_file(hostile: Hostile, folder: Path) -> Path:
    """The hostile file, made of a valid one where it changes that."""
    path = folder / hostile.file
    if path.name == _VOICE:
        make_voice().save(path)
    elif path.name == _SPEAKERS:
        write_spk2info_safetensors(path, {"anna": make_voice()})
    hostile.write(path)
    return path


@pytest.mark.parametrize("hostile", in_part(VOICES), ids=str)
def test_a_hostile_voice(hostile: Hostile, tmp_path: Path) -> None:
    path = voice_file(hostile, tmp_path)
    refusal(lambda: read_voices(path), *hostile.words)
    if path.name == _VOICE:
        refusal(lambda: Voice.load(path), *hostile.words)
    assert listing(tmp_path) == {path.name}


@pytest.mark.parametrize("hostile", VOICES[::12], ids=str)
def test_a_hostile_voice_given_to_a_command(hostile: Hostile, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = voice_file(hostile, tmp_path)
    check_message(refused_by_command(capsys, "voices", "import", path, "--voices", tmp_path / "library"), path.name)
    assert listing(tmp_path) == {path.name}


def test_weights_that_are_cut_off_after_loading(tiny_model: Path, tmp_path: Path) -> None:
    """They are read when they are first used; what is computed next is not accused of it."""
    for name in (folder_inputs.CONFIG, folder_inputs.WEIGHTS):
        shutil.copyfile(tiny_model / name, tmp_path / name)
    for _ in range(5):
        model = CosyVoice2.load(tmp_path)
        os.truncate(tmp_path / folder_inputs.WEIGHTS, 200_000)
        with pytest.raises(ModelFolderError, match="cannot be read any more"):
            model.flow  # noqa: B018
        mx.eval(mx.ones(3) + 1)
        shutil.copyfile(tiny_model / folder_inputs.WEIGHTS, tmp_path / folder_inputs.WEIGHTS)
