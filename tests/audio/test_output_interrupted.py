"""An exception before every single line of what writes files: nothing is lost, nothing is reported wrongly."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mlx_cosyvoice import files, uninterrupted
from mlx_cosyvoice.audio import (
    AudioWriter,
    encoded_file,
    open_audio,
    pcm,
    pipe_file,
    positioned,
    raw_file,
    wav_file,
    writer,
)
from mlx_cosyvoice.audio.pcm import encode_pcm
from mlx_cosyvoice.files import write_file
from tests.support.interrupting import Lines, interrupted

RATE = 24000
CHUNK = 2400
CHUNKS = [np.full(CHUNK, level, np.float32) for level in (0.1, 0.2, 0.3)]
#: Which do the work, without what gives it to another thread.
WORK = (encoded_file, files, pcm, pipe_file, positioned, raw_file, wav_file, writer)

#: Name -> (options, the largest error of a sample, or None where the codec smears them).
KINDS: dict[str, tuple[dict[str, Any], float | None]] = {
    "a.wav": ({}, 0.5 / 2**15),
    "b.wav": ({"subtype": "pcm24"}, 0.5 / 2**23),
    "c.wav": ({"subtype": "float"}, 0.0),
    "a.raw": ({}, 0.5 / 2**15),
    "a.flac": ({}, 1 / 2**15),
    "a.ogg": ({}, None),
    "a.opus": ({}, None),
    "a.mp3": ({}, None),
}
BEFORE = b"precious"


class UnforeseenError(Exception):
    """Is not expected by anything."""


@dataclass
class Outcome:
    """What a caller knows after a scenario."""

    returned: int = 0
    writer: AudioWriter | None = None
    error: type[BaseException] | None = None
    seconds: float = 0.0
    kept: Path | None = None
    lines: Lines = field(default_factory=Lines)


def raising(place: int | None, elsewhere: bool = False, **options: Any) -> AbstractContextManager[Lines]:
    """`interrupted` in this thread or in that which does the work."""
    return interrupted(WORK if elsewhere else (*WORK, uninterrupted), place, elsewhere=elsewhere, **options)


def run(path: Path, place: int | None, *, stop: bool = False, force: bool = False, **options: Any) -> Outcome:
    """Write the chunks to `path`, and raise at `place`; `stop` raises a KeyboardInterrupt after them anyway."""
    outcome = Outcome()

    def write() -> None:
        with open_audio(path, RATE, force=force, **KINDS[path.name][0]) as out:
            outcome.writer = out
            for chunk in CHUNKS:
                out.write(chunk)
                outcome.returned += 1
            if stop:
                raise KeyboardInterrupt

    try:
        with raising(place, **options) as outcome.lines:
            write()
    except (KeyboardInterrupt, UnforeseenError) as error:
        outcome.error = type(error)  # not itself: it holds the writer
    return outcome


def samples(path: Path) -> np.ndarray:
    if path.suffix == ".raw":
        return np.fromfile(path, "<i2") / np.float32(2**15)
    return soundfile.read(path, dtype="float32")[0]


def check(outcome: Outcome, path: Path, *, force: bool) -> None:
    """What is on the disk is all that was written, under one name; the file from before is lost to no other."""
    if outcome.writer is not None:
        outcome.seconds, outcome.kept = outcome.writer.seconds, outcome.writer.kept
        partial, outcome.writer = outcome.writer.partial, None  # now at the latest the file is finished
        assert partial is not None
    else:
        partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    left = sorted(os.listdir(path.parent))
    replaced = not force or path.read_bytes() != BEFORE if path.exists() else False
    where = path if replaced else partial if partial.exists() else None
    assert left == sorted({*([path.name] if force else []), *([where.name] if where else [])}), outcome
    if where is None:
        assert outcome.returned == 0
        assert outcome.seconds == 0
        return
    assert outcome.kept == (None if where == path else partial)
    content, tolerance = samples(where), KINDS[path.name][1]
    count = len(content) / CHUNK
    assert count in (outcome.returned, outcome.returned + 1)
    assert outcome.seconds == count * CHUNK / RATE
    if tolerance is not None:
        assert np.abs(content - np.concatenate(CHUNKS[: int(count)])).max() <= tolerance
    if outcome.error is None:
        assert (where, outcome.returned) == (path, len(CHUNKS))


def runs(path: Path, *, force: bool, **options: Any) -> Iterator[tuple[Outcome, Path]]:
    """Runs that are interrupted, each before another line and in a folder of its own."""
    made = itertools.count()

    def new_path() -> Path:
        folder = path.parent / str(next(made))
        folder.mkdir()
        if force:
            (folder / path.name).write_bytes(BEFORE)
        return folder / path.name

    whole = run(new_path(), None, force=force, **options)
    assert whole.returned == len(CHUNKS)
    assert len(whole.lines.at) > 20
    for place in whole.lines.first_and_last():
        new = new_path()
        outcome = run(new, place, force=force, **options)
        assert outcome.lines.met
        yield outcome, new
        shutil.rmtree(new.parent)


@pytest.mark.parametrize(("force", "stop"), [
    (False, False), (True, True), pytest.param(False, True, marks=pytest.mark.slow),
    pytest.param(True, False, marks=pytest.mark.slow),
])  # fmt: skip
@pytest.mark.parametrize("name", KINDS)
def test_an_interruption_before_every_line(tmp_path: Path, name: str, force: bool, stop: bool) -> None:
    for outcome, path in runs(tmp_path / name, force=force, stop=stop):
        check(outcome, path, force=force)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_an_interruption_before_every_instruction(tmp_path: Path, name: str) -> None:
    for place in itertools.count():
        path = tmp_path / str(place) / name
        path.parent.mkdir()
        path.write_bytes(BEFORE)
        outcome = run(path, place, force=True, instructions=True)
        check(outcome, path, force=True)
        if not outcome.lines.raised:
            break
    assert place > 500


@pytest.mark.parametrize("error", [KeyboardInterrupt, UnforeseenError])
@pytest.mark.parametrize("force", [False, True], ids=["new", "replacing"])
@pytest.mark.parametrize("name", ["a.wav", "b.wav", "a.raw"])
def test_an_exception_before_every_line_of_the_work_itself(
    tmp_path: Path, name: str, force: bool, error: type[BaseException]
) -> None:
    """No signal falls into it, but the system may fail anywhere: where nothing encodes, the order of lines is safe."""
    for outcome, path in runs(tmp_path / name, force=force, elsewhere=True, error=error):
        check(outcome, path, force=force)


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("force", [False, True], ids=["new", "replacing"])
def test_a_small_file_before_every_line(tmp_path: Path, force: bool, elsewhere: bool) -> None:
    path, place, raised = tmp_path / "voice", 0, True
    while raised:
        path.unlink(missing_ok=True)
        if force:
            path.write_bytes(BEFORE)
        with suppress(KeyboardInterrupt), raising(place, elsewhere) as lines:
            write_file(path, b"new", force=force)
        assert set(os.listdir(tmp_path)) <= {path.name}
        assert path.exists() or not force
        if path.exists():
            assert path.read_bytes() in ((BEFORE, b"new") if force and lines.raised else (b"new",))
        place, raised = place + 1, lines.raised
    assert place > 10


def read_all(pipe: int) -> bytes:
    data = b""
    while piece := os.read(pipe, 65536):
        data += piece
    return data


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_pipe_before_every_line(tmp_path: Path, elsewhere: bool) -> None:
    """What the writer says to have written is what its reader gets."""
    pipe = tmp_path / "pipe.raw"
    os.mkfifo(pipe)
    place = 0
    while True:
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        out: AudioWriter | None = None
        begun: AudioWriter | None
        returned = 0
        with suppress(KeyboardInterrupt), raising(place, elsewhere) as lines, open_audio(pipe, RATE) as begun:
            out = begun
            for chunk in CHUNKS:
                out.write(chunk)
                returned += 1
        seconds = 0.0 if out is None else out.seconds
        out = begun = None
        data = read_all(reader)
        os.close(reader)
        assert len(data) >= 2 * CHUNK * returned
        assert data == encode_pcm(np.concatenate([*CHUNKS, np.zeros(0)]), "pcm16")[: len(data)]
        assert seconds == len(data) / 2 / RATE
        if not lines.raised:
            break
        place += 1
    assert place > 20
