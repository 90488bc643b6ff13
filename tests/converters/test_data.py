"""Conversions that are killed, that race each other, and that meet what others make at the output meanwhile."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from converters import __main__ as cli
from converters import convert as conversion
from mlx_cosyvoice.weights import StoredModel
from reference.folders.claim import claim_path
from tests.support.checkpoints import snapshot
from tests.support.process import ROOT

#: One that takes little time. Which components are converted tells the old model from the new one.
NEW, OLD, NEWER = ["--components", "llm,hift"], ["--components", "hift"], ["--components", "llm"]


def start(checkpoint: Path, out: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "converters", str(checkpoint), "--out", str(out), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def components(folder: Path) -> list[str]:
    """Those of a model that is checked to be whole."""
    stored = StoredModel.open(folder)
    assert (folder / conversion.RECORD).is_file()
    names: list[str] = stored.meta["components"]
    assert all(stored.component(name) for name in names)
    return names


def written(claim: Path) -> int:
    """Bytes on the disk of what is under way."""
    try:
        return sum(512 * path.stat().st_blocks for path in (claim / "new").iterdir())
    except OSError:
        return 0


def wait_for(process: subprocess.Popen[str], out: Path, total: int, draw: random.Random) -> None:
    """Until a random point of a conversion; half of them are at its end, where folders get their names."""
    claim = claim_path(out)
    if draw.random() < 0.5:
        bound = draw.uniform(0, 1) * total
        while process.poll() is None and written(claim) < bound and not (claim / "new" / conversion.RECORD).exists():
            time.sleep(0.001)
        return
    while process.poll() is None and not (claim / "new" / conversion.RECORD).exists():
        time.sleep(0.001)
    time.sleep(draw.choice((0, draw.uniform(0, 0.02), draw.uniform(0, 0.3))))


@pytest.fixture(scope="module")
def total(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Bytes of the new model."""
    out = tmp_path_factory.mktemp("measured") / "out"
    assert cli.main([str(tiny_checkpoint), "--out", str(out), *NEW]) == 0
    return sum(512 * path.stat().st_blocks for path in out.iterdir())


@pytest.mark.soak
@pytest.mark.parametrize("force", [False, True])
def test_killed_at_random_points(tiny_checkpoint: Path, tmp_path: Path, total: int, force: bool) -> None:
    """40 of them."""
    out, draw = tmp_path / "results" / "out", random.Random(int(force))
    replace = ["--force"] if force else []
    killed = 0
    for number in range(40):
        if force and not out.exists():
            assert cli.main([str(tiny_checkpoint), "--out", str(out), *OLD]) == 0
        process = start(tiny_checkpoint, out, *NEW, *replace)
        wait_for(process, out, total, draw)
        process.kill()
        process.communicate(timeout=120)
        killed += process.returncode == -signal.SIGKILL
        whole = out.exists()
        if whole:
            assert components(out) in (["llm", "hift"], ["hift"])
        assert whole or not force  # these systems exchange names, so that the old model is never away
        status = cli.main([str(tiny_checkpoint), "--out", str(out), *NEWER, *replace])
        assert status == (1 if whole and not force else 0)
        if status == 0:
            assert components(out) == ["llm"]
        assert os.listdir(out.parent) == ["out"]
        if force:
            assert cli.main([str(tiny_checkpoint), "--out", str(out), *OLD, "--force"]) == 0
        else:
            out.rename(tmp_path / f"done {number}")
    assert killed >= 20, killed


def _race(checkpoint: Path, out: Path, draw: random.Random, *arguments: str) -> None:
    first = start(checkpoint, out, *NEW, *arguments)
    time.sleep(draw.uniform(0, 0.4))
    second = start(checkpoint, out, *NEWER, *arguments)
    errors = [process.communicate(timeout=120)[1] for process in (first, second)]
    codes = [first.returncode, second.returncode]
    if codes == [0, 0]:  # the one began after the other had ended
        assert arguments == ("--force",)
        return
    assert sorted(codes) == [0, 1], errors
    loser = codes.index(1)
    assert f"error: {out}" in errors[loser]
    assert "is being written by another process" in errors[loser] or "exists" in errors[loser]
    assert components(out) == (["llm"] if loser == 0 else ["llm", "hift"])
    assert os.listdir(out.parent) == ["out"]


@pytest.mark.parametrize("count", [1, pytest.param(10, marks=pytest.mark.soak)])
@pytest.mark.parametrize("force", [pytest.param(False, marks=pytest.mark.slow), True])
def test_races_of_two(tiny_checkpoint: Path, tmp_path: Path, force: bool, count: int) -> None:
    for number in range(count):
        _race(tiny_checkpoint, tmp_path / str(number) / "out", random.Random(number), *["--force"] * force)


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "thesis").write_text("theirs")


def _file(path: Path) -> None:
    with path.open("x") as file:
        file.write("theirs")


@pytest.mark.soak
@pytest.mark.parametrize("make", [_folder, _file])
@pytest.mark.parametrize("force", [False, True])
def test_something_of_others_at_a_random_moment(
    tiny_checkpoint: Path, tmp_path: Path, total: int, make: Callable[[Path], None], force: bool
) -> None:
    """20 times each."""
    draw, met = random.Random(f"{make.__name__} {force}"), 0
    for number in range(20):
        out = tmp_path / str(number) / "out"
        out.parent.mkdir()
        process = start(tiny_checkpoint, out, *NEW, *["--force"] * force)
        wait_for(process, out, total, draw)
        try:
            make(out)
        except FileExistsError:
            assert process.wait(timeout=120) == 0
            assert components(out) == ["llm", "hift"]
        else:
            met += 1
            _, error = process.communicate(timeout=120)
            assert process.returncode == 1
            assert error.count("\n") == 1
            assert f"error: {out}" in error
            assert (out if out.is_file() else out / "thesis").read_text() == "theirs"
        assert os.listdir(out.parent) == ["out"]
    assert met >= 5, met


@pytest.mark.parametrize("make", [_folder, _file, Path.mkdir])
@pytest.mark.parametrize("force", [False, True])
def test_something_of_others_while_it_runs(
    tiny_checkpoint: Path,
    tmp_path: Path,
    make: Callable[[Path], None],
    force: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    out, write = tmp_path / "out", conversion._write_rest

    def meet(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        make(out)

    monkeypatch.setattr(conversion, "_write_rest", meet)
    status = cli.main([str(tiny_checkpoint), "--out", str(out), *OLD, *["--force"] * force])
    if make == Path.mkdir and force:  # an empty folder may be replaced, where that is asked for
        assert status == 0
        assert components(out) == ["hift"]
        return
    assert status == 1
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert f"error: {out} was made by somebody else in the meantime, and is left as it is" in shown.err
    make(tmp_path / "theirs")
    theirs = snapshot(tmp_path)
    assert {name.replace("out", "theirs") for name in theirs} == {name for name in theirs if "theirs" in name}


def test_killed_and_converted_again(tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(tiny_checkpoint, out, *NEW)
    while not list(tmp_path.glob(".out.part/new/*")):
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)
    assert os.listdir(tmp_path) == [".out.part"]
    assert cli.main([str(tiny_checkpoint), "--out", str(out), *OLD]) == 0
    assert components(out) == ["hift"]
    assert os.listdir(tmp_path) == ["out"]


def test_interrupted_when_it_was_complete(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The report says what is true, though nothing is printed of the model itself."""
    report = conversion.ConversionReport

    def interrupt(*arguments: object) -> conversion.ConversionReport:
        report(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "ConversionReport", interrupt)
    assert cli.main([str(tiny_checkpoint), "--out", str(tmp_path / "out"), *OLD]) == 130
    assert capsys.readouterr().err == f"interrupted: {tmp_path / 'out'} is complete\n"
    assert components(tmp_path / "out") == ["hift"]
