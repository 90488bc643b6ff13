"""The tiny synthetic checkpoint and its conversion, made once for all tests (which must not change them), the model
loaded from it, and how a conversion is seen to fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from converters import __main__ as cli
from converters.convert import convert
from mlx_cosyvoice import CosyVoice2
from reference.synthetic.checkpoint import COSYVOICE3_SYNTHETIC, write_checkpoint
from tests.support.checkpoints import Folders, snapshot


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny synthetic checkpoint with the golden numbers' seed."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", size="tiny")


@pytest.fixture(scope="session")
def tiny_model(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its conversion to MLX in float32."""
    return convert(tiny_checkpoint, tmp_path_factory.mktemp("model") / "tiny-mlx").out


@pytest.fixture(scope="session")
def tiny_checkpoint3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of CosyVoice3."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny3", synthetic=COSYVOICE3_SYNTHETIC)


@pytest.fixture(scope="session")
def tiny_model3(tiny_checkpoint3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(tiny_checkpoint3, tmp_path_factory.mktemp("model") / "tiny3-mlx").out


@pytest.fixture(scope="module")
def tts(tiny_model: Path) -> CosyVoice2:
    """The tiny model, loaded."""
    return CosyVoice2.load(tiny_model)


@pytest.fixture
def folders(tiny_checkpoint: Path, tmp_path: Path) -> Folders:
    return Folders(tiny_checkpoint, tmp_path)


@pytest.fixture
def fails(folders: Folders, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs the command over the old model, and checks all that is common to failures. Returns the message."""

    def run(*words: str, arguments: tuple[str, ...] = (), status: int = 1) -> str:
        before = snapshot(folders.out.parent)
        components = ("--components", ",".join(folders.components))
        command = [str(folders.checkpoint), "--out", str(folders.out), "--force", *components, *arguments]
        assert cli.main(command) == status
        shown = capsys.readouterr()
        lines = [line for line in re.split(r"[\r\n]+", shown.err) if line and "B/s]" not in line]
        assert len(lines) == 1, lines
        assert shown.out == ""
        for word in words:
            assert word in lines[0]
        assert snapshot(folders.out.parent) == before
        return lines[0]

    return run
