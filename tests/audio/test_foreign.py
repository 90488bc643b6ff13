"""m4a, webm and whatever else libsndfile does not read: by programs of the system, or with the command to convert."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import pytest

from mlx_cosyvoice.audio import AudioError, foreign, read_recording
from tests.support.process import ROOT
from tests.support.sounds import RATE, buzz, encoded, written

DATA = ROOT / "tests" / "data"
FILES = {"m4a": (DATA / "voice_memo.m4a", 24000), "webm": (DATA / "browser_recording.webm", 48000)}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def stand_in(folder: Path, name: str, body: str) -> None:
    """A program in Python; `out` is its last argument."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport shutil, sys, time\nout = sys.argv[-1]\n{body}\n")
    path.chmod(0o755)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize("kind", FILES)
def test_with_ffmpeg(tmp_path: Path, kind: str) -> None:
    path, rate = FILES[kind]
    odd = written(tmp_path / "-i it's; $(touch x).wav", path.read_bytes())
    for source in (path, odd, path.read_bytes(), path.open("rb")):
        recording = read_recording(source, max_seconds=30)
        assert recording.seconds == pytest.approx(3.0, abs=0.1)
        assert recording.sample_rate == rate
    assert read_recording(path, start=1, end=2).seconds == 1.0


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_ffmpeg_opens_no_other_file(tmp_path: Path) -> None:
    written(tmp_path / "secret.wav", encoded(buzz(3.0), "WAV"))
    playlist = written(tmp_path / "list.m4a", b"ffconcat version 1.0\nfile secret.wav\n")
    with pytest.raises(AudioError), foreign.converted(str(playlist), "list.m4a", "MPEG-4", 30.0):
        pass


@pytest.mark.parametrize("kind", FILES)
def test_without_programs_the_command_is_told(programs: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = FILES[kind][0]
    for system, command in (("linux", "ffmpeg -i"), ("darwin", "afconvert -f WAVE -d LEI16")):
        monkeypatch.setattr(sys, "platform", system)
        with pytest.raises(AudioError) as error:
            read_recording(path)
        assert str(error.value).startswith(f"{path}: is ")
        assert str(error.value).endswith(f"{command} {path} {path.with_suffix('.wav')}")


def test_with_afconvert(programs: Path, tmp_path: Path) -> None:
    sound = written(tmp_path / "sound.wav", encoded(buzz(2.0), "WAV"))
    stand_in(
        programs,
        "afconvert",
        f"assert sys.argv[1:5] == ['-f', 'WAVE', '-d', 'LEI16']\nshutil.copy({str(sound)!r}, out)",
    )
    assert read_recording(FILES["m4a"][0]).seconds == 2.0


def test_what_one_program_cannot_the_other_may(programs: Path, tmp_path: Path) -> None:
    sound = written(tmp_path / "sound.wav", encoded(buzz(2.0), "WAV"))
    stand_in(programs, "afconvert", "sys.exit('Error: ExtAudioFileOpenURL failed (typ?)')")
    with pytest.raises(AudioError, match=r"could not be read \(afconvert: Error: ExtAudioFileOpenURL failed"):
        read_recording(FILES["webm"][0])
    stand_in(programs, "ffmpeg", f"shutil.copy({str(sound)!r}, out)")
    assert read_recording(FILES["webm"][0]).seconds == 2.0


def test_a_program_is_held_to_its_bounds(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "SHORTEST_WAIT", 0.3)
    monkeypatch.setattr(foreign, "LONGEST_WAIT", 0.3)
    stand_in(programs, "ffmpeg", "time.sleep(60)")
    began = time.monotonic()
    with pytest.raises(AudioError, match="was stopped after 0 s"):
        read_recording(FILES["m4a"][0])
    monkeypatch.setattr(foreign, "LONGEST_WAIT", 60)
    monkeypatch.setattr(foreign, "_MOST_BYTES", 10**6)
    stand_in(programs, "ffmpeg", "file = open(out, 'wb')\nwhile True: file.write(bytes(10000))")
    with pytest.raises(AudioError, match="it wrote more than"):
        read_recording(FILES["m4a"][0])
    assert time.monotonic() - began < 20


def test_what_is_no_audio_reaches_no_program(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "ffmpeg", f"open({str(tmp_path / 'ran')!r}, 'w')")
    for content in (
        b"#!/bin/sh\necho",
        b"#EXTM3U\n/etc/passwd\n",
        b"ffconcat version 1.0\n",
        bytes(5000),
        RATE.to_bytes(4, "big"),
    ):
        with pytest.raises(AudioError):
            read_recording(content)
    assert not (tmp_path / "ran").exists()
