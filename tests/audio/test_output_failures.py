"""What is left of an audio file when the disk is full, or the process is killed or interrupted at any place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_cosyvoice.audio import open_audio, write_wav
from tests.support.process import ROOT, run_python

RATE = 24000
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no permission to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> None:
    with open_audio(path, RATE) as out:
        for _ in range(200):
            out.write(NOISE)


def test_a_full_disk_keeps_the_wav_so_far(small_disk: Path) -> None:
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.partial\.wav'"):
        fill(small_disk / "a.wav")
    assert os.listdir(small_disk) == ["a.partial.wav"]
    read, _ = soundfile.read(small_disk / "a.partial.wav", dtype="float32")
    assert len(read) == 4 * RATE
    assert np.abs(read - np.tile(NOISE, 4)).max() <= 0.5 / 2**15


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.opus", "a.mp3"])
def test_a_full_disk_leaves_no_broken_file(small_disk: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        fill(small_disk / name)
    assert os.listdir(small_disk) == []
    assert capfd.readouterr().err == ""


def test_a_full_disk_at_once(small_disk: Path) -> None:
    (small_disk / "other").write_bytes(bytes(200 * 1024))
    for name in ("a.wav", "a.flac"):
        with pytest.raises(OSError, match="No space left on device"):
            fill(small_disk / name)
    with pytest.raises(OSError, match="No space left on device"):
        write_wav(small_disk / "b.wav", NOISE, RATE)
    assert os.listdir(small_disk) == ["other"]


@pytest.mark.parametrize(("name", "left"), [("a.wav", ["a.partial.wav"]), ("a.flac", [])])
def test_a_limit_on_file_sizes_is_like_a_full_disk(tmp_path: Path, name: str, left: list[str]) -> None:
    """The same everywhere, also where nothing can be mounted."""
    code = f"""
import resource, sys
import numpy as np
from mlx_cosyvoice.audio import open_audio
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    with open_audio({str(tmp_path / name)!r}, 24000) as out:
        for _ in range(200):
            out.write(np.random.default_rng(0).uniform(-0.5, 0.5, 24000))
except OSError as error:
    sys.exit(f"{{error.filename}}: {{error.strerror}}")
"""
    result = run_python("-c", code)
    assert result.returncode == 1
    assert result.stderr == f"{tmp_path / name.replace('.', '.partial.')}: File too large\n"
    assert os.listdir(tmp_path) == left
    if left:
        assert soundfile.info(tmp_path / left[0]).frames == 4 * RATE
        content = (tmp_path / left[0]).read_bytes()  # without the part of a chunk that could not be written whole
        assert len(content) == 8 + int.from_bytes(content[4:8], "little")


def test_a_full_disk_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for name, left in (("a.flac", []), ("a.wav", ["a.partial.wav"])):
        with pytest.raises(OSError, match="No space left"), open_audio(tmp_path / name, RATE) as out:
            out.write(NOISE)
        assert os.listdir(tmp_path) == left


def test_killed_at_any_time_a_wav_can_be_played(tmp_path: Path) -> None:
    """Its writer writes ones as fast as it can; every file that it leaves holds ones, and nothing else."""
    code = f"""
import sys
import numpy as np
from mlx_cosyvoice.audio import open_audio
with open_audio({str(tmp_path / "a.wav")!r}, 24000) as out:
    out.write(np.ones(100, np.float32))
    print("begun", flush=True)
    while True:
        out.write(np.ones(100, np.float32))
"""
    for milliseconds in (0, 3, 10, 50):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(milliseconds / 1000)
        process.kill()
        process.wait()
        process.stdout.close()
    partial = sorted(os.listdir(tmp_path))
    assert partial == ["a.partial-2.wav", "a.partial-3.wav", "a.partial-4.wav", "a.partial.wav"]
    for name in partial:
        samples, rate = soundfile.read(tmp_path / name, dtype="int16")
        assert rate == RATE
        assert len(samples) >= 100
        assert len(samples) % 100 == 0
        assert (samples == 32767).all()


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_interrupted_at_any_line_the_file_is_whole(tmp_path: Path, name: str) -> None:
    """Ctrl-C while the file is written to, libsndfile's calls back included."""
    code = f"""
import signal
import numpy as np
from mlx_cosyvoice.audio import open_audio
chunk = np.random.default_rng(0).uniform(-0.5, 0.5, 24000).astype(np.float32)
for seed in range(12):
    try:
        with open_audio({str(tmp_path)!r} + f"/{{seed}}-{name}", 24000) as out:
            out.write(chunk)
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, 0.002 + 0.003 * seed)
            while True:
                out.write(chunk)
    except KeyboardInterrupt:
        pass
"""
    result = run_python("-c", code)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(os.listdir(tmp_path)) == 12
    for path in tmp_path.iterdir():
        assert ".partial" not in path.name
        read, _ = soundfile.read(path, dtype="float32")
        assert len(read) >= RATE
        if not name.endswith("mp3"):
            whole = read[: len(read) // RATE * RATE].reshape(-1, RATE)
            assert np.abs(whole - NOISE).max() <= 1 / 2**15


def test_a_second_interruption_while_the_first_is_handled_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt), open_audio(tmp_path / "a.wav", RATE) as out:  # noqa: PT012
        out.write(NOISE)
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["a.partial.wav"]
    assert soundfile.info(tmp_path / "a.partial.wav").frames == RATE


def test_terminating_the_process_is_left_to_the_caller() -> None:
    """A library sets no signal handlers."""
    code = "import signal; before = signal.getsignal(signal.SIGTERM); import mlx_cosyvoice.audio; " \
        "assert signal.getsignal(signal.SIGTERM) == before; print(int(before))"  # fmt: skip
    assert run_python("-c", code).stdout == f"{int(signal.SIG_DFL)}\n"
