"""What is wrong with the folder that `--official` names is said in one line, and nothing is run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parity.__main__ import main


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """As much of a checkout as is looked for; its code needs a package that nobody has."""
    for file in ("flow/flow.py", "cli/__init__.py", "cli/model.py"):
        path = tmp_path / "cosyvoice" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import no_such_package\n")
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "cosyvoice"]:
        del sys.modules[name]


def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["upstream", "--official", str(folder)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert str(folder) in shown.err
    return shown.err


def test_a_folder_that_is_no_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no checkout of FunAudioLLM/CosyVoice" in refused(tmp_path, capsys)


def test_a_checkout_without_its_submodule(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "run git submodule update --init" in refused(folder, capsys)


def test_a_package_that_its_code_needs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "third_party/Matcha-TTS/matcha").mkdir(parents=True)
    assert "its code needs" in (said := refused(folder, capsys))
    assert "pip install transformers==" in said
    assert "torchaudio" not in sys.modules
