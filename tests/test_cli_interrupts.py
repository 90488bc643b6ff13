"""Ctrl-C, SIGTERM and SIGKILL while a file is being written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.speaking import CHUNK, RATE, start, tone, wait_for

LONG = " ".join(["word"] * 10_000)


def speak(out: Path, *arguments: str, wait: float = 0.01) -> subprocess.Popen[bytes]:
    """A process that has written three chunks at least."""
    process = start("speak", LONG, "--speaker", "bo", "--out", str(out), *arguments, wait=wait)
    wait_for(out.with_name(f"{out.stem}.partial{out.suffix}"), 6 * CHUNK if out.suffix == ".wav" else 1)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_was_spoken(tmp_path: Path, number: int) -> None:
    out = tmp_path / "speech.wav"
    process = speak(out)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output == b""
    assert os.listdir(tmp_path) == ["speech.wav"]
    samples, _ = soundfile.read(out, dtype="float32")
    count = len(samples) // CHUNK
    assert count >= 3
    assert len(samples) == count * CHUNK
    expected = np.concatenate([tone(number) for number in range(count)])
    assert np.abs(samples - expected).max() <= 0.5 / 2**15
    interrupted, summary = errors.decode().splitlines()
    assert interrupted == f"mlx-cosyvoice: interrupted; the first {len(samples) / RATE:.1f} s are in {out}"
    assert summary.startswith(f"{out}: ")


@pytest.mark.parametrize("suffix", ["flac", "ogg", "opus", "mp3"])
def test_other_formats_too(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"speech.{suffix}"
    process = speak(out, "--json")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert os.listdir(tmp_path) == [out.name]
    figures = json.loads(output)
    assert figures["interrupted"]
    assert 0.1 <= soundfile.info(out).duration <= figures["audio_seconds"] + 1e-9


def test_killed_it_leaves_a_file_that_can_be_played(tmp_path: Path) -> None:
    out = tmp_path / "speech.wav"
    process = speak(out, "--quiet")
    process.kill()
    process.communicate(timeout=60)
    assert os.listdir(tmp_path) == ["speech.partial.wav"]
    samples, _ = soundfile.read(tmp_path / "speech.partial.wav", dtype="float32")
    assert len(samples) >= 3 * CHUNK - CHUNK
    assert np.abs(samples[:CHUNK] - tone(0)).max() <= 0.5 / 2**15


def test_killed_it_leaves_the_file_that_was_to_be_replaced(tmp_path: Path) -> None:
    out = tmp_path / "speech.wav"
    out.write_bytes(b"precious")
    process = speak(out, "--force")
    process.kill()
    process.communicate(timeout=60)
    assert out.read_bytes() == b"precious"


def test_interrupted_before_anything_was_spoken(tmp_path: Path) -> None:
    out = tmp_path / "speech.wav"
    process = start("speak", LONG, "--speaker", "bo", "--out", str(out), wait=30)
    wait_for(tmp_path / "speech.partial.wav", 1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.decode().splitlines()[0] == "mlx-cosyvoice: interrupted; nothing was written"
    assert os.listdir(tmp_path) == []


def test_interrupted_while_it_waits_for_text(tmp_path: Path) -> None:
    """It hangs on nothing, and what was said before is kept."""
    out = tmp_path / "speech.wav"
    process = start("speak", "-", "--speaker", "bo", "--out", str(out), stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"One.")
    process.stdin.flush()
    wait_for(tmp_path / "speech.partial.wav", 2 * CHUNK)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    process.communicate()
    assert soundfile.info(out).frames == CHUNK
