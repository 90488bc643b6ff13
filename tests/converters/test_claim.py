"""The claim on an output: one process has it at a time, a dead one loses it, and nothing of others is taken for one."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reference.folders.claim import MARKER, Claim, claim_path
from reference.folders.new_folder import new_folder
from tests.support.checkpoints import snapshot
from tests.support.process import ROOT

HOLD = """
import sys
from pathlib import Path
from reference.folders.new_folder import new_folder
with new_folder(sys.argv[1], force=False, replaceable=Path.is_dir) as folder:
    (folder / "record").write_text("theirs")
    print("held", flush=True)
    sys.stdin.readline()
"""


def write(out: Path) -> None:
    with new_folder(out, force=False, replaceable=lambda folder: (folder / "record").is_file()) as folder:
        (folder / "record").write_text("ours")


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that is writing `out`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_named_and_not_disturbed(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    before = snapshot(tmp_path)
    with pytest.raises(FileExistsError, match=rf"out is being written by another process \({holder.pid}\)"):
        write(tmp_path / "out")
    assert snapshot(tmp_path) == before
    holder.communicate("go on\n", timeout=60)
    assert holder.returncode == 0
    assert snapshot(tmp_path) == {"out": None, "out/record": b"theirs"}


def test_a_dead_process_is_cleaned_up_after(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.communicate(timeout=60)
    assert os.listdir(tmp_path) == [".out.part"]
    write(tmp_path / "out")
    assert snapshot(tmp_path) == {"out": None, "out/record": b"ours"}


def test_the_same_process_may_not_claim_twice(tmp_path: Path) -> None:
    claim = Claim.take(tmp_path / "out")
    with pytest.raises(FileExistsError, match="is being written by another process"):
        Claim.take(tmp_path / "out")
    claim.release()
    Claim.take(tmp_path / "out").release()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "full", "marker of others", "folder for a marker"])
def test_what_others_have_under_its_name_is_left_alone(tmp_path: Path, kind: str) -> None:
    place = claim_path(tmp_path / "out")
    if kind == "file":
        place.write_text("theirs")
    elif "link" in kind:
        (tmp_path / "theirs").mkdir()
        place.symlink_to("nowhere" if kind == "dangling link" else "theirs")
    else:
        place.mkdir()
        (place / "new").mkdir()
        (place / "new" / "thesis").write_text("theirs")
        if kind == "marker of others":
            (place / MARKER).write_text("theirs")
        elif kind == "folder for a marker":
            (place / MARKER).mkdir()
    before = snapshot(tmp_path)
    with pytest.raises(FileExistsError, match=rf"{place} is in the way, and not of this command: move it"):
        write(tmp_path / "out")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("content", [None, b"", b"mlx-cosy"])
def test_a_claim_that_was_hardly_begun_is_taken_over(tmp_path: Path, content: bytes | None) -> None:
    """Its owner was killed after it made the folder, the marker, or half of what the marker holds."""
    place = claim_path(tmp_path / "out")
    place.mkdir()
    if content is not None:
        (place / MARKER).write_bytes(content)
    write(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]


def test_what_others_put_into_it_stays(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """A file manager does so by itself."""
    holder.kill()
    holder.communicate(timeout=60)
    (claim_path(tmp_path / "out") / ".DS_Store").write_text("theirs")
    write(tmp_path / "out")
    assert sorted(os.listdir(tmp_path / ".out.part")) == [".DS_Store", MARKER]
    (tmp_path / "out").rename(tmp_path / "other")
    write(tmp_path / "out")
    assert (tmp_path / ".out.part" / ".DS_Store").read_text() == "theirs"


@pytest.mark.parametrize("output", ["../elsewhere", "..", "", 7, None, "a/b"])
def test_a_marker_that_names_no_output_beside_it(tmp_path: Path, output: object) -> None:
    """Nothing is put back to a place that such a marker chose."""
    claim = Claim.take(tmp_path / "out")
    claim.name(tmp_path / "out")
    marker = claim.path / MARKER
    text = marker.read_text().replace('"out"', {None: "null"}.get(output, repr(output).replace("'", '"')))  # type: ignore[call-overload]
    os.close(claim._file)
    marker.write_text(text)
    again = Claim.take(tmp_path / "out")
    assert again.left is None
    again.release()


class TestWithoutLocks:
    """File systems that have none: nobody can tell whether the owner of a claim still runs."""

    @pytest.fixture(autouse=True)
    def _no_locks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(file: int, operation: int) -> None:
            raise OSError(errno.ENOTSUP, "Operation not supported")

        monkeypatch.setattr(fcntl, "flock", refuse)

    def test_a_folder_is_written(self, tmp_path: Path) -> None:
        write(tmp_path / "out")
        assert os.listdir(tmp_path) == ["out"]

    def test_a_claim_is_never_taken_over(self, tmp_path: Path) -> None:
        place = claim_path(tmp_path / "out")
        with pytest.raises(FileExistsError, match=rf"if none runs, look into {place} and remove it yourself"):
            self._write_twice(tmp_path / "out")
        assert os.listdir(tmp_path) == []

    def _write_twice(self, out: Path) -> None:
        with new_folder(out, force=False, replaceable=Path.is_dir):
            write(out)


def test_two_names_that_a_file_system_takes_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claims of `Out` and `out` are one there as well, and what is put back goes where it was."""
    for module in ("claim", "new_folder"):
        monkeypatch.setattr(
            f"reference.folders.{module}.claim_path", lambda target: target.parent / f".{target.name.lower()}.part"
        )
    claim = Claim.take(tmp_path / "Out")
    claim.name(tmp_path / "Out")
    (claim.path / "new").mkdir()
    (claim.path / "old").mkdir()
    (claim.path / "old" / "record").write_text("old")
    with pytest.raises(FileExistsError, match="out is being written by another process"):
        write(tmp_path / "out")
    os.close(claim._file)
    write(tmp_path / "out")
    assert snapshot(tmp_path) == {"Out": None, "Out/record": b"old", "out": None, "out/record": b"ours"}


def test_a_claim_that_is_given_back_while_another_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second opens the marker, then the first removes it, then the second has the lock of a file without a name."""
    first, flock = Claim.take(tmp_path / "out"), fcntl.flock
    turns: list[int] = []

    def late(file: int, operation: int) -> None:
        if not turns:
            turns.append(file)
            first.release()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    second = Claim.take(tmp_path / "out")
    with pytest.raises(FileExistsError, match="is being written by another process"):
        Claim.take(tmp_path / "out")
    second.release()
    assert os.listdir(tmp_path) == []
