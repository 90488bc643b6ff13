"""Folders that are written whole or not at all: whatever stops it, and whatever others do at the same place."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from reference.folders import claim, new_folder, rename
from reference.folders.claim import claim_path
from reference.folders.new_folder import check_free
from reference.folders.new_folder import new_folder as folder_at
from tests.support.checkpoints import snapshot
from tests.support.lines import at_line, before_lines, killed_at_line, lines_of

MODULES = (claim, new_folder, rename)


def is_ours(folder: Path) -> bool:
    return (folder / "record").is_file()


def fill(folder: Path, content: str) -> None:
    for name in ("weights", "record"):
        (folder / name).write_text(content)


def write(out: Path, content: str, *, force: bool = False) -> None:
    with folder_at(out, force=force, replaceable=is_ours) as folder:
        fill(folder, content)


def content_of(out: Path) -> str | None:
    """What `write` wrote there, whole; None where nothing is."""
    if not out.exists():
        return None
    assert sorted(os.listdir(out)) == ["record", "weights"]
    [content] = {path.read_text() for path in out.iterdir()}
    return content


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.fixture(params=["exchange", "no exchange"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Systems that have the renames of `reference.folders.rename`, and such as have the plain one only."""
    if request.param == "no exchange":

        def unsupported(source: Path, target: Path, flag: int) -> None:
            raise rename.UnsupportedError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr(rename, "_rename", unsupported)
    return request.param


@pytest.fixture(autouse=True)
def _without_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes most of the time, and none of the processes here depends on it."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Path]:
    """Fresh folders, one after the other."""

    def fresh() -> Iterator[Path]:
        for number in range(10_000):
            folder = tmp_path / str(number)
            folder.mkdir()
            yield folder

    return fresh()  # type: ignore[return-value]


class TestRenames:
    def test_a_new_name_is_never_taken_from_another(self, tmp_path: Path, system: str) -> None:
        for kind in ("file", "full", "empty", "link"):
            (tmp_path / "new").mkdir(exist_ok=True)
            target = tmp_path / kind
            if kind == "file":
                target.write_text("text")
            elif kind == "link":
                target.symlink_to("nowhere")
            else:
                target.mkdir()
                if kind == "full":
                    (target / "thesis").write_text("text")
            with pytest.raises(FileExistsError):
                rename.rename_new(tmp_path / "new", target)
        assert names(tmp_path) == ["empty", "file", "full", "link", "new"]
        rename.rename_new(tmp_path / "new", tmp_path / "free")
        assert names(tmp_path) == ["empty", "file", "free", "full", "link"]

    def test_a_full_folder_that_was_made_after_the_look_stays(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unsupported(source: Path, target: Path, flag: int) -> None:
            raise rename.UnsupportedError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr(rename, "_rename", unsupported)
        monkeypatch.setattr(os.path, "lexists", lambda path: False)
        (tmp_path / "new").mkdir()
        (tmp_path / "file").write_text("text")
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "thesis").write_text("text")
        for name in ("file", "full"):
            with pytest.raises(FileExistsError):
                rename.rename_new(tmp_path / "new", tmp_path / name)
        assert (tmp_path / "full" / "thesis").exists()

    def test_names_change_places(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("text")
        (tmp_path / "folder").mkdir()
        try:
            rename.exchange(tmp_path / "file", tmp_path / "folder")
        except rename.UnsupportedError:
            pytest.skip("this file system has no exchange")
        assert (tmp_path / "file").is_dir()
        with pytest.raises(FileNotFoundError):
            rename.exchange(tmp_path / "file", tmp_path / "nothing")


class TestFailures:
    @pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
    def test_what_was_there_stays_when_the_block_fails(self, tmp_path: Path, failure: type[BaseException]) -> None:
        write(tmp_path / "out", "old")
        before = snapshot(tmp_path)

        def fail() -> None:
            with folder_at(tmp_path / "out", force=True, replaceable=is_ours) as folder:
                fill(folder, "new")
                raise failure

        with pytest.raises(failure):
            fail()
        assert snapshot(tmp_path) == before

    @pytest.mark.usefixtures("system")
    @pytest.mark.parametrize("step", ["rename_new", "exchange"])
    def test_what_was_there_comes_back_when_a_rename_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        write(tmp_path / "out", "old")
        before, original = snapshot(tmp_path), getattr(rename, step)

        def fail(source: Path, target: Path) -> None:
            if source.name in ("new", "swap"):
                raise OSError(errno.EACCES, "Permission denied")
            original(source, target)

        monkeypatch.setattr(new_folder, "rename_new", fail)
        monkeypatch.setattr(new_folder, "exchange", fail)
        with pytest.raises(OSError, match="Permission denied"):
            write(tmp_path / "out", "new", force=True)
        assert snapshot(tmp_path) == before

    @pytest.mark.usefixtures("system")
    def test_an_empty_folder_may_be_replaced_and_a_file_not(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        write(tmp_path / "empty", "new", force=True)
        assert content_of(tmp_path / "empty") == "new"
        (tmp_path / "file").write_text("text")
        with pytest.raises(FileExistsError, match="was not written by this command"):
            write(tmp_path / "file", "new", force=True)
        assert names(tmp_path) == ["empty", "file"]

    @pytest.mark.usefixtures("system")
    @pytest.mark.parametrize("there", [True, False])
    def test_a_link_to_a_folder_stays_a_link(self, tmp_path: Path, there: bool) -> None:
        if there:
            (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        write(tmp_path / "link", "new", force=there)
        assert (tmp_path / "link").is_symlink()
        assert content_of(tmp_path / "real") == "new"

    def test_a_parent_that_is_a_file_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("text")
        with pytest.raises(NotADirectoryError, match="file is a file"):
            write(tmp_path / "file" / "out", "new")

    def test_parents_that_were_made_are_removed(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="stop"), folder_at(tmp_path / "a" / "b", force=False, replaceable=is_ours):
            raise ValueError("stop")
        assert names(tmp_path) == []

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
    def test_a_parent_that_must_not_be_written_to_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        def refuse(path: Path, mode: int = 0o777) -> None:
            raise OSError(number, os.strerror(number), str(path))

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(PermissionError, match=f"the folder {tmp_path} must not be written to: "):
            write(tmp_path / "out", "new")

    def test_a_mount_point_is_refused_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "out").mkdir()
        monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "out")
        with pytest.raises(FileExistsError, match="is a mount point, which cannot be replaced: give a folder in it"):
            write(tmp_path / "out", "new", force=True)

    def test_the_longest_name(self, tmp_path: Path) -> None:
        for name in ("n" * 255, "名" * 85):
            write(tmp_path / name, "old")
            write(tmp_path / name, "new", force=True)
            assert content_of(tmp_path / name) == "new"
        assert len(names(tmp_path)) == 2


class TestOthers:
    """Somebody else does something at the output, before any line of ours."""

    @pytest.fixture(params=["file", "full", "empty", "theirs instead of ours"])
    def appear(self, request: pytest.FixtureRequest) -> Callable[[Path], str]:
        def act(out: Path) -> str:
            """Returns what of theirs is at `out` now; "" for nothing."""
            if request.param == "theirs instead of ours" and out.exists():
                out.rename(out.with_name("moved away"))
            if out.exists():
                return ""
            if request.param == "file":
                out.write_text("theirs")
                return "file"
            out.mkdir()
            if request.param == "empty":
                return "empty"
            (out / "thesis").write_text("theirs")
            return "full"

        return act

    @pytest.mark.parametrize("force", [False, True])
    def test_nothing_of_theirs_is_lost(
        self, places: Iterator[Path], system: str, appear: Callable[[Path], str], force: bool
    ) -> None:
        place = next(places)
        if force:
            write(place / "out", "old")
        count = lines_of(MODULES, lambda: write(place / "out", "new", force=force))
        for number in range(1, count + 1):
            self._at(number, next(places) / "out", system, appear, force)

    def _at(self, number: int, out: Path, system: str, appear: Callable[[Path], str], force: bool) -> None:
        if force:
            write(out, "old")
        seen, failed = [], None
        try:
            at_line(number, MODULES, lambda: write(out, "new", force=force), lambda: seen.append(appear(out)))
        except FileExistsError as error:
            failed = str(error)
        [theirs] = seen
        moved = content_of(out.with_name("moved away"))
        if theirs in ("file", "full"):
            assert (out if theirs == "file" else out / "thesis").read_text() == "theirs"
        if (theirs and not out.is_dir()) or "record" not in names(out):
            # it came before the end, and is reported; or our folder had been complete, and they moved it away
            assert failed is not None or moved == "new"
            assert failed is None or str(out) in failed
        else:
            assert content_of(out) in ("new", "old")
            assert (content_of(out) == "new") == (failed is None)
            # an empty folder may be replaced if that was asked for, or by a system that knows no better rename
            assert not theirs or force or system == "no exchange"
        left = set(names(out.parent)) - {"out", "moved away"}
        if left:  # what was ours could not go back, and the message says where it is
            assert failed is not None
            assert str(claim_path(out) / "old") in failed
            assert content_of(claim_path(out) / "old") == "old"
            out.rename(out.with_name("theirs"))
            with pytest.raises(FileExistsError, match="give --force"):
                write(out, "newer")
            assert content_of(out) == "old"
            assert names(out.parent) == ["out", "theirs"]


#: Each line takes a process of its own, so that the default run looks at some of them.
EVERY = pytest.mark.parametrize(
    "every", [11, pytest.param(3, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.soak)]
)


class TestKills:
    @EVERY
    @pytest.mark.parametrize("force", [False, True])
    def test_at_any_line(self, places: Iterator[Path], system: str, force: bool, every: int) -> None:
        place = next(places)
        if force:
            write(place / "out", "old")
        count = lines_of(MODULES, lambda: write(place / "out", "new", force=force))
        assert count > 80
        for number in range(1, count + 1, every):
            out = next(places) / "out"
            if force:
                write(out, "old")
            assert killed_at_line(number, MODULES, partial(write, out, "new", force=force))
            found = content_of(out)
            assert found in ("old" if force else None, "new") or system == "no exchange"
            if found is None and force:
                assert content_of(claim_path(out) / "old") == "old"
                with pytest.raises(FileExistsError, match="give --force"):
                    write(out, "newer")
                assert content_of(out) == "old"
                assert names(out.parent) == ["out"]
            write(out, "newer", force=True)
            assert content_of(out) == "newer"
            assert names(out.parent) == ["out"]

    @EVERY
    @pytest.mark.parametrize("force", [False, True])
    def test_at_any_line_of_the_run_that_cleans_up(
        self, places: Iterator[Path], system: str, force: bool, every: int
    ) -> None:
        place = next(places)
        write(place / "out", "old")
        count = lines_of(MODULES, lambda: write(place / "out", "new", force=True))
        for first in range(count * 2 // 3, count + 1, 2 * every):
            for second in range(20, count, 9 * every):
                out = next(places) / "out"
                write(out, "old")
                killed_at_line(first, MODULES, partial(write, out, "new", force=True))
                killed_at_line(second, MODULES, partial(write, out, "newer", force=force))
                found = content_of(out)
                assert found in ("old", "new", "newer") or (system == "no exchange" and found is None)
                try:
                    write(out, "newest", force=force)
                except FileExistsError:
                    assert not force
                assert content_of(out) in (("newest",) if force else ("old", "new"))
                assert names(out.parent) == ["out"]
                shutil.rmtree(out)

    @pytest.fixture
    def swapping(self, places: Iterator[Path]) -> Path:
        """An output whose writer was killed when two names were about to change places."""
        place, out = next(places), next(places) / "out"
        write(place / "out", "old")
        swap, swaps = claim_path(place / "out") / "swap", list[bool]()
        before_lines(MODULES, partial(write, place / "out", "new", force=True), lambda: swaps.append(swap.exists()))
        write(out, "old")
        killed_at_line(1 + swaps.index(True), MODULES, partial(write, out, "new", force=True))
        assert (claim_path(out) / "swap").exists()
        return out

    @EVERY
    def test_while_the_old_one_is_removed(self, places: Iterator[Path], swapping: Path, every: int) -> None:
        """A folder that is half removed is nothing to put back."""
        removing, copy = (*MODULES, shutil), next(places) / "copy"
        shutil.copytree(swapping.parent, copy)
        count = lines_of(removing, lambda: check_free(copy / "out", force=True, replaceable=is_ours))
        for second in range(count // 4, count + 1, every):
            copy = next(places) / "copy"
            shutil.copytree(swapping.parent, copy)
            clean = partial(check_free, copy / "out", force=True, replaceable=is_ours)
            assert killed_at_line(second, removing, clean)
            assert content_of(copy / "out") in ("old", "new")
            clean()
            assert content_of(copy / "out") in ("old", "new")
            assert names(copy) == ["out"]

    def test_the_output_was_removed_before_the_next_run(self, swapping: Path) -> None:
        """What is left of it is the only one there is."""
        shutil.rmtree(swapping)
        with pytest.raises(FileExistsError, match="give --force"):
            write(swapping, "newer")
        assert content_of(swapping) in ("old", "new")
        assert names(swapping.parent) == ["out"]

    @pytest.mark.usefixtures("system")
    @pytest.mark.parametrize("force", [False, True])
    def test_interrupted_at_any_line(self, places: Iterator[Path], force: bool) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        place = next(places)
        if force:
            write(place / "out", "old")
        count = lines_of(MODULES, lambda: write(place / "out", "new", force=force))
        for number in range(1, count + 1):
            out = next(places) / "out"
            if force:
                write(out, "old")
            before = new_folder.identity(out)
            with pytest.raises(KeyboardInterrupt):
                at_line(number, MODULES, partial(write, out, "new", force=force), interrupt)
            # the last lines clean up: they may leave that to the next run
            assert content_of(out) == ("new" if new_folder.identity(out) != before else "old" if force else None)
