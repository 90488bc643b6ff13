"""Wrong arguments, a full disk, an interrupt, no network: one line, and the output folder as it was."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters import __main__ as cli
from converters import write
from converters.convert import convert
from tests.support.checkpoints import Folders, snapshot
from tests.support.process import ROOT


class TestOutput:
    def test_it_exists(self, tiny_checkpoint: Path, folders: Folders, capsys: pytest.CaptureFixture) -> None:
        before = snapshot(folders.out.parent)
        assert cli.main([str(tiny_checkpoint), "--out", str(folders.out)]) == 1
        error = capsys.readouterr().err
        assert str(folders.out) in error
        assert "--force" in error
        assert snapshot(folders.out.parent) == before

    def test_force_does_not_replace_other_things(self, folders: Folders, fails: Callable[..., str]) -> None:
        (folders.out / "conversion.json").rename(folders.out / "thesis.txt")
        fails(str(folders.out), "remove it yourself")

    def test_force_replaces_a_model(self, tiny_checkpoint: Path, folders: Folders) -> None:
        assert cli.main([str(tiny_checkpoint), "--out", str(folders.out), "--force", "--components", "hift"]) == 0
        assert (folders.out / "model.safetensors").read_bytes() != b"the old weights"
        assert [path.name for path in folders.out.parent.iterdir()] == ["out"]

    @pytest.mark.parametrize("place", [".", "inside", "inside/deep", "..", "../checkpoint/../checkpoint"])
    def test_it_lies_in_the_checkpoint_or_around_it(
        self, place: str, folders: Folders, tiny_checkpoint: Path, capsys: pytest.CaptureFixture
    ) -> None:
        checkpoint = shutil.copytree(
            tiny_checkpoint, folders.root / "checkpoints" / "checkpoint", copy_function=os.link
        )
        (checkpoint.parent / "conversion.json").write_text("{}")  # so that --force would replace them
        (checkpoint / "conversion.json").write_text("{}")
        before = set(snapshot(checkpoint.parent))
        assert cli.main([str(checkpoint), "--out", str(checkpoint / place), "--force"]) == 1
        assert "choose another output folder" in capsys.readouterr().err
        assert set(snapshot(checkpoint.parent)) == before

    def test_its_parent_is_a_file(self, folders: Folders, tiny_checkpoint: Path, capsys: pytest.CaptureFixture) -> None:
        (folders.root / "file").write_text("text")
        arguments = ["--components", "hift", "--out", str(folders.root / "file" / "out")]
        assert cli.main([str(tiny_checkpoint), *arguments]) == 1
        assert f"{folders.root / 'file'} is a file" in capsys.readouterr().err


class TestArguments:
    def test_unknown_components(self, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        for argument in ("components", "keep_float32"):
            option = f"--{argument.replace('_', '-')}"
            with pytest.raises(SystemExit) as stopped:
                cli.main([str(tiny_checkpoint), "--out", str(tmp_path / "out"), option, "flow,vocoder"])
            assert stopped.value.code == 2
            assert f"{option}: 'vocoder' is not one of llm, flow" in capsys.readouterr().err
            with pytest.raises(ValueError, match=f"{argument}: 'vocoder' is not one of"):
                convert(tiny_checkpoint, tmp_path / "out", **{argument: ["vocoder"]})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="components: name at least one"):
            convert(tiny_checkpoint, tmp_path / "out", components=[])
        assert list(tmp_path.iterdir()) == []

    def test_unknown_dtype(self, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(tiny_checkpoint), "--out", str(tmp_path / "out"), "--dtype", "int8"])
        assert stopped.value.code == 2
        assert "bfloat16" in capsys.readouterr().err
        with pytest.raises(ValueError, match="dtype must be one of float32, float16, bfloat16, not 'int8'"):
            convert(tiny_checkpoint, tmp_path / "out", dtype="int8")

    def test_a_checkpoint_that_is_not_there(self, folders: Folders, fails: Callable[..., str]) -> None:
        folders.checkpoint = folders.root / "nothing"
        fails(str(folders.checkpoint), "no such folder")
        folders.checkpoint.write_text("text")
        fails(str(folders.checkpoint), "is a file")


class TestDiskFull:
    def test_while_writing(self, folders: Folders, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        original = write.SafetensorsWriter.write

        def full(self: write.SafetensorsWriter, name: str, array: np.ndarray) -> int:
            calls.append(name)
            if len(calls) == 50:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(self, name, array)

        monkeypatch.setattr(write.SafetensorsWriter, "write", full)
        fails(f"{folders.out}: No space left on device", "free some space")
        assert len(calls) == 50

    def test_seen_beforehand(self, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        usage = shutil.disk_usage("/")._replace(free=1_000_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        fails("the model needs 0.10 GB", "0.00 GB are free")

    @pytest.mark.parametrize("limit", [1_000, 10_000_000])
    def test_for_real(self, limit: int, folders: Folders) -> None:
        """Files may not grow beyond a limit; the system's answer differs from a full disk in the number only."""
        before = snapshot(folders.out.parent)
        result = subprocess.run(
            [sys.executable, "-m", "converters", str(folders.good), "--out", str(folders.out), "--force"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert result.returncode == 1
        assert f"error: {folders.out}: File too large" in result.stderr
        assert "Traceback" not in result.stderr
        assert snapshot(folders.out.parent) == before


PAUSE = """
import sys, time
from converters import __main__ as cli, write
original, calls = write.SafetensorsWriter.write, []
def slow(self, name, array):
    calls.append(name)
    if len(calls) == 40:
        print("half way", flush=True)
        time.sleep(60)
    return original(self, name, array)
write.SafetensorsWriter.write = slow
sys.exit(cli.main(sys.argv[1:]))
"""


def test_interrupted_half_way(folders: Folders) -> None:
    before = snapshot(folders.out.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", PAUSE, str(folders.good), "--out", str(folders.out), "--force"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half way\n"
    assert len(list(folders.out.parent.iterdir())) == 2  # the new folder is under way
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in error
    assert "Traceback" not in error
    assert snapshot(folders.out.parent) == before


def test_the_hub_cannot_be_reached(folders: Folders) -> None:
    before = snapshot(folders.out.parent)
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folders.root / "hub")}
    result = subprocess.run(
        [sys.executable, "-m", "converters", "--out", str(folders.out), "--force"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    message = result.stderr.strip().splitlines()[-1]
    for word in ("FunAudioLLM/CosyVoice2-0.5B", "hub", "local checkpoint folder", "CHECKPOINT=synthetic"):
        assert word in message
    assert snapshot(folders.out.parent) == before
