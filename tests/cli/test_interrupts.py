"""Ctrl-C, SIGTERM and SIGKILL while a command is at work: all that was spoken is kept, and what it reports is true."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.process import ROOT
from tests.support.speaking import CHUNK, RATE, start, tone, wait_for, wait_until_reached

LONG = " ".join(["word"] * 10_000)
PROMPT = str(ROOT / "parity" / "data" / "sample.wav")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "speech.wav"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def ended(process: subprocess.Popen[bytes], *signals: int) -> tuple[bytes, list[str]]:
    """What it gave out and the lines it printed, after the signals; it must end long before what it is held up by."""
    for number in signals:
        process.send_signal(number)
    try:
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, errors.decode()
    return output, errors.decode().splitlines()


def speak(out: Path, log: Path, *arguments: str, wait: float = 0.01, hold: str = "") -> subprocess.Popen[bytes]:
    """A process that has written three chunks at least."""
    process = start("speak", LONG, "--speaker", "bo", "--out", str(out), *arguments, wait=wait, log=log, hold=hold)
    wait_until_reached(log, "chunk 3")
    return process


def check_wav(path: Path, chunks: int | None = None) -> int:
    """It holds whole chunks and all from the first on; returns how many."""
    samples, _ = soundfile.read(path, dtype="float32")
    count = len(samples) // CHUNK
    assert len(samples) == count * CHUNK
    assert chunks in (None, count)
    assert np.abs(samples - np.concatenate([tone(number) for number in range(count)])).max() <= 0.5 / 2**15
    return count


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_was_spoken(out: Path, log: Path, number: int) -> None:
    output, errors = ended(speak(out, log), number)
    assert output == b""
    assert os.listdir(out.parent) == ["speech.wav"]
    count = check_wav(out)
    assert count >= 3
    interrupted, summary = errors
    assert interrupted == f"mlx-cosyvoice: interrupted; the first {count * CHUNK / RATE:.1f} s are in {out}"
    assert summary.startswith(f"{out}: ")


def test_the_chunk_that_is_being_made_is_kept_too(out: Path, log: Path) -> None:
    process = speak(out, log, "--json", wait=0.5)
    begun = len(log.read_text().splitlines())  # at least: "load", and a line a chunk
    output, _ = ended(process, signal.SIGINT)
    assert check_wav(out) >= begun - 1
    assert json.loads(output)["chunks"] == check_wav(out)


@pytest.mark.parametrize("suffix", ["flac", "ogg", "opus", "mp3", "raw"])
def test_other_formats_too(out: Path, log: Path, suffix: str) -> None:
    out = out.with_suffix(f".{suffix}")
    output, _ = ended(speak(out, log, "--json"), signal.SIGINT)
    assert os.listdir(out.parent) == [out.name]
    figures = json.loads(output)
    assert figures["interrupted"]
    count = out.stat().st_size // 2 if suffix == "raw" else soundfile.info(out).frames
    assert count == round(figures["audio_seconds"] * RATE) == figures["chunks"] * CHUNK
    assert figures["chunks"] >= 3


@pytest.mark.parametrize("signals", [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)])
@pytest.mark.parametrize("name", ["speech.wav", "speech.flac"])
def test_a_second_one_ends_it_at_once(out: Path, log: Path, name: str, signals: tuple[int, int]) -> None:
    """In the midst of a chunk that takes ten minutes. (Two of the same might be one to the system.)"""
    out = out.with_name(name)
    _, errors = ended(speak(out, log, hold="chunk 3"), *signals)
    assert os.listdir(out.parent) == [name]
    assert soundfile.info(out).frames == 3 * CHUNK
    assert errors[0] == f"mlx-cosyvoice: interrupted; the first 0.3 s are in {out}"


def test_a_second_one_before_the_first_chunk(out: Path, log: Path) -> None:
    process = start("speak", LONG, "--speaker", "bo", "--out", str(out), log=log, hold="chunk 0")
    wait_until_reached(log, "chunk 0")
    _, errors = ended(process, signal.SIGINT, signal.SIGTERM)
    assert errors[0] == "mlx-cosyvoice: interrupted; nothing was written"
    assert os.listdir(out.parent) == []


def test_killed_it_leaves_a_file_that_can_be_played(out: Path, log: Path) -> None:
    process = speak(out, log, "--quiet")
    process.kill()
    process.communicate(timeout=60)
    assert os.listdir(out.parent) == ["speech.partial.wav"]
    samples, _ = soundfile.read(out.with_name("speech.partial.wav"), dtype="float32")
    assert len(samples) >= 3 * CHUNK
    assert np.abs(samples[:CHUNK] - tone(0)).max() <= 0.5 / 2**15


def test_killed_it_leaves_the_file_that_was_to_be_replaced(out: Path, log: Path) -> None:
    out.write_bytes(b"precious")
    process = speak(out, log, "--force")
    process.kill()
    process.communicate(timeout=60)
    assert out.read_bytes() == b"precious"


def test_interrupted_before_anything_was_spoken(out: Path, log: Path) -> None:
    process = start("speak", LONG, "--speaker", "bo", "--out", str(out), log=log, hold="chunk 0")
    wait_until_reached(log, "chunk 0")
    _, errors = ended(process, signal.SIGINT)
    assert errors[0] == "mlx-cosyvoice: interrupted; nothing was written"
    assert os.listdir(out.parent) == []


@pytest.mark.parametrize("place", ["load", "clone"])
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
@pytest.mark.parametrize("command", [
    ["speak", "One.", "--prompt", PROMPT, "--transcript", "One."], ["convert-voice", PROMPT, "--prompt", PROMPT],
    ["voices", "add", "anna", PROMPT, "--transcript", "One."],
])  # fmt: skip
def test_interrupted_in_preparation(out: Path, log: Path, command: list[str], number: int, place: str) -> None:
    where = ["--voices", str(out.parent)] if command[0] == "voices" else ["--out", str(out)]
    process = start(*command, *where, log=log, hold=place)
    wait_until_reached(log, place)
    assert ended(process, number) == (b"", ["mlx-cosyvoice: interrupted"])
    assert os.listdir(out.parent) == []


def test_convert_voice(out: Path, log: Path) -> None:
    process = start("convert-voice", PROMPT, "--prompt", PROMPT, "--out", str(out), log=log, hold="chunk 1")
    wait_until_reached(log, "chunk 1")
    ended(process, signal.SIGINT, signal.SIGTERM)
    assert os.listdir(out.parent) == [out.name]
    check_wav(out, 1)


def test_interrupted_while_it_waits_for_text(out: Path, log: Path) -> None:
    """It hangs on nothing, and what was said before is kept."""
    process = start("speak", "-", "--speaker", "bo", "--out", str(out), stdin=subprocess.PIPE, log=log)
    assert process.stdin is not None
    process.stdin.write(b"One.")
    process.stdin.flush()
    wait_until_reached(log, "chunk 1")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    process.communicate()
    check_wav(out, 1)


def test_interrupted_before_any_text_came(out: Path, log: Path) -> None:
    process = start("speak", "-", "--speaker", "bo", "--out", str(out), stdin=subprocess.PIPE, log=log)
    wait_until_reached(log, "chunk 0")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    process.communicate()
    assert os.listdir(out.parent) == []


@pytest.mark.parametrize("count", [3, 10_000], ids=["all is made", "more than may wait to be heard"])
def test_it_is_silent_at_once(out: Path, log: Path, count: int) -> None:
    """While a loudspeaker plays for ever what was made."""
    arguments = [" ".join(["word"] * count), "--speaker", "bo", "--out", str(out), "--play"]
    process = start("speak", *arguments, log=log)
    wait_until_reached(log, "play")
    wait_until_reached(log, f"chunk {min(count, 65)}")
    if count == 3:
        wait_for(out, 1)
    _, errors = ended(process, signal.SIGINT)
    assert os.listdir(out.parent) == [out.name]
    seconds = check_wav(out) * CHUNK / RATE
    assert errors[0] == f"mlx-cosyvoice: interrupted; the first {seconds:.1f} s are in {out}"
    assert len(errors) == 2


def test_a_reader_that_reads_nothing(log: Path) -> None:
    """What it reports is what stands in the pipe, to the sample."""
    process = start("speak", LONG, "--speaker", "bo", "--out", "-", "--json", log=log)
    wait_until_reached(log, "chunk 5")  # a pipe holds some more
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    output, errors = process.communicate()
    interrupted, figures = errors.decode().splitlines()
    assert json.loads(figures)["interrupted"]
    assert interrupted == f"mlx-cosyvoice: interrupted; {len(output) / 2 / RATE:.1f} s were written"
    expected = np.concatenate([tone(number) for number in range(14)])[: len(output) // 2]
    assert np.array_equal(np.frombuffer(output, "<i2"), np.rint(expected * 2**15))


def test_a_signal_that_is_ignored_stays_so(out: Path, log: Path) -> None:
    """As Ctrl-C is in the background jobs of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start("speak", LONG, "--speaker", "bo", "--out", str(out), log=log, wait=0.01)
    finally:
        signal.signal(signal.SIGINT, before)
    wait_until_reached(log, "chunk 0")
    process.send_signal(signal.SIGINT)
    wait_until_reached(log, "chunk 20")
    ended(process, signal.SIGTERM)
    assert check_wav(out) >= 20
