"""Every hostile file of a checkpoint is refused by a conversion as `tests.hostile.harness` says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from converters import __main__ as cli
from mlx_cosyvoice.voices import read_spk2info
from tests.hostile import archive_inputs, onnx_inputs, text_inputs, yaml_inputs
from tests.hostile.harness import (
    MAX_BYTES,
    MAX_SECONDS,
    Finished,
    Hostile,
    check_message,
    command_refusal,
    in_part,
    listing,
    measured,
    refusal,
    run_command,
)

ALL = [*yaml_inputs.INPUTS, *text_inputs.INPUTS, *archive_inputs.INPUTS, *onnx_inputs.INPUTS]
#: A conversion goes on without speakers that cannot be read; their reader is tried alone.
SPEAKERS = [hostile for hostile in ALL if hostile.file == archive_inputs.SPEAKERS]
INPUTS = [hostile for hostile in ALL if hostile not in SPEAKERS]

#: Files -> the components that read them, so that a test reads no more than it needs.
COMPONENTS = {
    "cosyvoice2.yaml": "hift",
    "hift.pt": "hift",
    "campplus.onnx": "campplus",
    "speech_tokenizer_v2.onnx": "speech_tokenizer",
}


@pytest.fixture(scope="module")
def good(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with a recipe beside it, for the inputs to spoil."""
    folder = tmp_path_factory.mktemp("good")
    shutil.copytree(tiny_checkpoint, folder / "checkpoint", copy_function=os.link)
    (folder / "checkpoint" / text_inputs.RECIPE).write_text("{}")
    return folder / "checkpoint"


@pytest.fixture
def spoiled(request: pytest.FixtureRequest, good: Path, tmp_path: Path) -> Iterator[tuple[Hostile, Path]]:
    """An input, and the checkpoint that it was written into."""
    hostile: Hostile = request.param
    folder = tmp_path / "checkpoint"
    shutil.copytree(good, folder, copy_function=os.link)
    target = folder / hostile.file
    content = target.read_bytes()
    target.unlink()  # it is a link
    target.write_bytes(content)
    hostile.write(target)
    yield hostile, folder
    shutil.rmtree(folder)


def arguments(hostile: Hostile, folder: Path, out: Path) -> list[str]:
    recipe = ["--recipe", str(folder / hostile.file)] if hostile.file == text_inputs.RECIPE else []
    components = COMPONENTS.get(hostile.file, "hift" if recipe else "llm")
    if hostile.file == yaml_inputs.YAML and hostile.name.startswith("value-"):  # claims that the weights refute
        components = "llm,flow,hift"
    return [str(folder), "--out", str(out), "--components", components, *recipe]


def test_there_are_many_and_each_has_a_name() -> None:
    assert len(ALL) >= 250
    assert len({(hostile.file, hostile.name) for hostile in ALL}) == len(ALL)


@pytest.mark.parametrize("spoiled", in_part(INPUTS), ids=str, indirect=True)
def test_it_is_refused(spoiled: tuple[Hostile, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    hostile, folder = spoiled
    before = listing(tmp_path)
    with measured() as cost:
        status = cli.main(arguments(hostile, folder, tmp_path / "out"))
    shown = capsys.readouterr()
    assert status == 1, "was accepted"
    assert shown.out == ""
    check_message(shown.err.removesuffix("\n"), *hostile.words)
    assert cost.seconds < MAX_SECONDS, f"took {cost.seconds:.1f} s: {shown.err}"
    assert cost.nbytes < MAX_BYTES, f"took {cost.nbytes / 1e6:.0f} MB: {shown.err}"
    assert listing(tmp_path) == before


@pytest.mark.parametrize("spoiled", in_part(SPEAKERS), ids=str, indirect=True)
def test_speakers_are_refused(spoiled: tuple[Hostile, Path]) -> None:
    hostile, folder = spoiled
    refusal(lambda: read_spk2info(folder / hostile.file), *hostile.words)


@pytest.fixture(scope="module")
def start() -> Finished:
    """What the command needs to begin: it ends where the folder is none."""
    return run_command(["converters", "/nowhere/at/all", "--out", "/nowhere/out"])


@pytest.mark.soak
@pytest.mark.parametrize("spoiled", INPUTS, ids=str, indirect=True)
def test_the_command_refuses_it(spoiled: tuple[Hostile, Path], start: Finished, tmp_path: Path) -> None:
    hostile, folder = spoiled
    command_refusal(["converters", *arguments(hostile, folder, tmp_path / "out")], start, tmp_path, *hostile.words)
