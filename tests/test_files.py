"""Names of files that audio and voices are written to: refused beforehand, and never taken from another's file."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_cosyvoice import files
from mlx_cosyvoice.audio import open_audio
from mlx_cosyvoice.files import check_target, give_name, write_file
from mlx_parity.report import data
from tests.support.lines import killed_at_line, lines_of


def write_voice(path: Path, force: bool) -> None:
    write_file(path, b"mine", force=force)


def write_audio(path: Path, force: bool) -> None:
    with open_audio(path, 24000, force=force) as out:
        out.write(np.full(100, 0.5, np.float32))


def no_links(*_: Any) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def no_space(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(params=[True, False], ids=["hard links", "no hard links"])
def another_is_first(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Lets another process write a file in the moment in which a finished one would get its name."""

    def begin(path: Path) -> None:
        def after_the_other(act: Callable[..., Any]) -> Callable[..., Any]:
            def run(*arguments: Any, **options: Any) -> Any:
                path.write_bytes(b"another's")
                return act(*arguments, **options)

            return run

        monkeypatch.setattr(os, "link", after_the_other(os.link if request.param else no_links))
        monkeypatch.setattr(os, "replace", after_the_other(os.replace))

    return begin


def write_report(path: Path, force: bool) -> None:
    assert force  # a report always replaces its predecessor
    data.write_text(path, "mine")


@pytest.mark.parametrize("write", [write_voice, write_report])
def test_killed_at_any_line_the_file_is_the_old_one_or_the_new_one(
    write: Callable[[Path, bool], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "uninterrupted", lambda work: work())  # in this thread, where lines are counted
    path, modules = tmp_path / "file", [files, data]
    path.write_bytes(b"old")
    found = []
    for number in range(1, 1 + lines_of(modules, partial(write, path, True))):
        path.write_bytes(b"old")
        assert killed_at_line(number, modules, partial(write, path, True))
        found.append(path.read_bytes())
    assert set(found) == {b"old", b"mine"}
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("write", [write_voice, write_report])
def test_a_full_disk_leaves_the_old_file(
    write: Callable[[Path, bool], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", no_space)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space"):
        write(path, True)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("write", [write_voice, write_audio])
def test_a_file_that_appears_in_the_last_moment_is_not_replaced(
    write: Callable[[Path, bool], None], another_is_first: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    another_is_first(path)
    with pytest.raises(FileExistsError, match=r"a\.wav (exists|came into being)"):
        write(path, False)
    assert path.read_bytes() == b"another's"
    assert sorted(os.listdir(tmp_path)) == (["a.partial.wav", "a.wav"] if write is write_audio else ["a.wav"])


@pytest.mark.parametrize("write", [write_voice, write_audio])
@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_a_new_file_stands_alone(
    write: Callable[[Path, bool], None], links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    write(tmp_path / "a.wav", False)
    assert os.listdir(tmp_path) == ["a.wav"]
    assert (tmp_path / "a.wav").stat().st_size > 0


def test_a_name_that_was_claimed_in_vain_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"mine")

    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="Input/output error"):
        give_name(part, tmp_path / "a")
    assert os.listdir(tmp_path) == ["part"]


@pytest.mark.parametrize("force", [False, True])
def test_a_pipe_is_not_replaced_by_a_file(force: bool, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert check_target(pipe, force=force) is False
    with pytest.raises(FileExistsError, match="pipe is a device or pipe; give the name of a file"):
        write_file(pipe, b"mine", force=force)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("write", [write_voice, write_audio])
def test_a_folder_that_must_not_be_written_to_is_named(write: Callable[[Path, bool], None], tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="no permission to write into the folder"):
            write(tmp_path / "a.wav", False)
    finally:
        tmp_path.chmod(0o700)
