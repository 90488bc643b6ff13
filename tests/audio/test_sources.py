"""What a recording may be, and which codings are read: by libsndfile, by the system's programs, or refused."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_cosyvoice.audio import AudioError, decode, read_recording
from mlx_cosyvoice.audio.containers import Layout
from tests.support.sounds import RATE, buzz, encoded, with_number, written

WAVE = buzz(1.0)
WAV = encoded(WAVE, "WAV", "FLOAT")


class OneWay(io.RawIOBase):
    """A file that cannot seek, and gives little at a time."""

    def __init__(self, content: bytes) -> None:
        self._rest = content

    def read(self, count: int = -1) -> bytes:
        part, self._rest = self._rest[:1000], self._rest[1000:]
        return part


@pytest.mark.parametrize(
    "kind", ["bytes", "bytearray", "memoryview", "BytesIO", "opened", "raw", "one way", "pipe", "fifo"]
)
def test_a_recording_as_bytes_or_file(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / "voice.wav", WAV)
    source: Any = {
        "bytes": lambda: WAV,
        "bytearray": lambda: bytearray(WAV),
        "memoryview": lambda: memoryview(WAV),
        "BytesIO": lambda: io.BytesIO(WAV),
        "opened": lambda: path.open("rb"),
        "raw": lambda: path.open("rb", buffering=0),
        "one way": lambda: OneWay(WAV),
        "pipe": lambda: os.fdopen(_filled_pipe(), "rb"),
        "fifo": lambda: _filled_fifo(tmp_path / "fifo"),
    }[kind]()
    recording = read_recording(source)
    assert np.array_equal(recording.samples, WAVE)
    assert recording.sha256 == read_recording(path).sha256
    if hasattr(source, "close"):
        source.close()


def _filled_pipe() -> int:
    ours, theirs = os.pipe()
    threading.Thread(target=lambda: os.fdopen(theirs, "wb").write(WAV)).start()
    return ours


def _filled_fifo(path: Path) -> Path:
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(WAV,)).start()
    return path


@pytest.mark.parametrize(("samples", "tolerance"), [
    (WAVE, 0), (WAVE[:, None], 0), (WAVE[None], 0), (np.stack([WAVE, WAVE]), 0), (np.stack([WAVE] * 3, axis=1), 1e-7),
    (WAVE.astype(np.float64), 0), (WAVE.astype(np.float16), 1e-3), (np.int16(WAVE * 32767), 1e-4),
    (np.int32(WAVE * 2.0**31 * 0.999), 1e-3), (np.uint8(WAVE * 127 + 128), 2e-2), (WAVE.tolist(), 1e-7),
])  # fmt: skip
def test_samples_with_a_rate(samples: Any, tolerance: float) -> None:
    recording = read_recording(samples, sample_rate=RATE)
    assert recording.samples.dtype == np.float32
    assert np.abs(recording.samples - WAVE).max() <= tolerance
    for pair in ((samples, RATE), (RATE, samples)):  # as soundfile and as Gradio have it
        assert np.array_equal(read_recording(pair).samples, recording.samples)


def test_samples_of_other_frameworks() -> None:
    import mlx.core as mx
    import torch

    for samples in (torch.from_numpy(WAVE)[None], mx.array(WAVE)):
        assert np.array_equal(read_recording((samples, RATE)).samples, WAVE)


@pytest.mark.parametrize(("source", "options", "message"), [
    (WAVE, {}, "the samples given: an array needs its rate"),
    (WAVE, {"sample_rate": 0}, "sample_rate is 0 Hz, must be from 4000"),
    (WAVE, {"sample_rate": "fast"}, "cannot be taken as an array with a rate"),
    (WAVE.astype(complex), {"sample_rate": RATE}, "not complex"),
    (WAVE > 0, {"sample_rate": RATE}, "not bool"),
    (np.zeros((2, 3, 4)), {"sample_rate": RATE}, r"not \[2, 3, 4\]"),
    (np.zeros((100, 100)), {"sample_rate": RATE}, r"not \[100, 100\]"),
    (WAVE * 32767, {"sample_rate": RATE}, r"float samples must lie in \[-1, 1\]"),
    (np.zeros(0), {"sample_rate": RATE}, "empty"),
    (np.full(RATE, np.nan), {"sample_rate": RATE}, f"{RATE} samples are NaN"),
    (["a", "b"], {"sample_rate": RATE}, "the samples given"),
    ([], {}, "the samples given"),
    (b"", {}, "the bytes given: holds no bytes"),
    (b"this is no audio" * 99, {}, "the bytes given: cannot be read as audio"),
    (io.StringIO("text"), {}, "the file object given: gives str, not bytes"),
    (None, {}, "must be a path, bytes, a file"),
    (7, {}, "not int"),
    ("a\0b.wav", {}, "cannot be the name of a file"),
    ("n" * 300, {}, "cannot be read"),
])  # fmt: skip
def test_what_is_no_recording(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(AudioError, match=message) as error:
        read_recording(source, **options)
    assert "\n" not in str(error.value)


def test_a_part(tmp_path: Path) -> None:
    wave = buzz(3.0)
    for source in (written(tmp_path / "voice.wav", encoded(wave, "WAV", "FLOAT")), (wave, RATE)):
        part = read_recording(source, start=0.5, end=2.0)
        assert np.array_equal(part.samples, wave[RATE // 2 : 2 * RATE])
        assert read_recording(source, start=1.0, max_seconds=2).seconds == 2.0
        with pytest.warns(UserWarning, match=r"ends after 3.00 s, before the end at 9 s"):
            read_recording(source, start=1, end=9)
        for bad, message in (
            ({"start": 3.5}, r"ends after 3\.00 s, before the start at 3\.5 s"),
            ({"start": 2.0, "end": 1.0}, "ends behind its start"),
            ({"start": -1.0}, "begins at 0 s or later"),
            ({"start": float("nan")}, "begins at 0 s or later"),
            ({"start": 1.0, "end": 1.2}, "0.200 s of audio is too short"),
        ):
            with pytest.raises(AudioError, match=message):
                read_recording(source, **bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("format", "subtype", "rate"), [
    ("WAV", "GSM610", 8000), ("WAV", "IMA_ADPCM", 22050), ("WAV", "MS_ADPCM", 22050), ("WAV", "ALAW", 8000),
    ("WAV", "ULAW", 8000), ("WAV", "G721_32", 8000), ("WAV", "PCM_32", 48000), ("WAV", "DOUBLE", 48000),
    ("WAVEX", "PCM_24", 48000), ("RF64", "PCM_24", 48000), ("W64", "FLOAT", 48000), ("AIFF", "ALAW", 8000),
    ("CAF", "ALAC_16", 44100), ("AU", "ULAW", 8000), ("OGG", "OPUS", 48000), ("NIST", "PCM_16", 16000),
])  # fmt: skip
def test_codings(tmp_path: Path, format: str, subtype: str, rate: int) -> None:
    wave = buzz(1.5, rate)
    path = written(tmp_path / "voice.mp3", encoded(wave, format, subtype, rate))  # an extension tells nothing
    recording = read_recording(path)
    assert recording.sample_rate == rate
    assert recording.seconds == pytest.approx(1.5, abs=0.07)
    count = min(len(wave), len(recording.samples))
    assert np.corrcoef(recording.samples[:count], wave[:count])[0, 1] > 0.9


@pytest.mark.parametrize("content", [
    with_number(WAV, b"fmt ", 2**31 - 1, behind=12),  # rate
    with_number(WAV, b"fmt ", 1, behind=12),
    with_number(WAV, b"fmt ", 0, behind=12),
    with_number(WAV, b"fmt ", 60000, "<H", behind=10),  # channels
    with_number(WAV, b"fmt ", 1024, "<H", behind=10),
    with_number(WAV, b"fmt ", 0, "<H", behind=10),
    with_number(WAV, b"fmt ", 0x1234, "<H", behind=8),  # coding
    with_number(WAV, b"fmt ", 2**32 - 1),
    WAV[:30], WAV[:44], b"RIFF", b"fLaC", b"OggS", b"ID3" + bytes([3, 0, 0, 127, 127, 127, 127]), b"\xff\xfb\x90\x00",
    b"\xff\xfb\x90\x00" * 50000, b"RIFF\x00\x00\x00\x00WAVEdata\x00\x00\x00\x00" + bytes(9999), b"caff\0\1\0\0" * 999,
    b"FORM\0\0\0\0AIFFSSND" + bytes(999), b".snd" + b"\xff" * 999, b"OggS" * 9999, bytes(10**6), b"\xff" * 10**6,
])  # fmt: skip
def test_hostile_heads_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path / "hostile.wav", content)
    with pytest.raises(AudioError, match=r"^/.*hostile\.wav: ") as error:
        read_recording(path, max_seconds=30)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


_MEASURE = """
import resource, sys, time
from mlx_cosyvoice.audio import AudioError, read_recording
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    read_recording(sys.argv[1], max_seconds=30)
except AudioError as error:
    print(error)
else:
    print("read")
scale = 1024 if sys.platform == "linux" else 1024 * 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / scale, time.process_time() - began)
"""


@pytest.mark.parametrize("kind", [
    "flac of silence", "large wav", "large unfinished wav", "huge wav", "many channels", "large flac", "huge flac",
    "huge mp3", "huge ogg", "huge aiff",
])  # fmt: skip
def test_a_claim_costs_no_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "big"
    if kind == "flac of silence":  # a few kB that are hours
        path.write_bytes(encoded(np.zeros(655350 * 60), "FLAC", rate=384000))
    elif kind == "many channels":
        path.write_bytes(encoded(np.tile(buzz(1.0, 96000)[:, None], (1, 64)), "WAV", "PCM_16", 96000))
    else:
        if "wav" in kind:
            content = with_number(WAV, b"data", 0 if "unfinished" in kind else 2**32 - 1)
        else:
            content = encoded(buzz(1.0, 16000), kind.split()[1].upper())
        path.write_bytes(content)
        os.truncate(path, (240 << 20) if "large" in kind else 6 << 30)  # sparse
    result = subprocess.run([sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=True)
    said, figures = result.stdout.splitlines()
    words = {"many": "^read$", "flac": "is too long", "large": "is too long|damaged", "huge": "holes"}
    assert re.search(words[kind.split()[0]], said), said
    megabytes, seconds = map(float, figures.split())
    assert megabytes < 300
    assert seconds < 3  # of the processor


def test_a_file_in_which_no_recording_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as MPEG audio whose only frames are cut off."""
    monkeypatch.setattr(decode, "find_layout", lambda *_: Layout(()))
    with pytest.raises(AudioError, match=r"nothing\.mp3: cannot be read as audio \(no whole frame"):
        read_recording(written(tmp_path / "nothing.mp3", b"\xff\xfb\x90\x64"))


def test_a_joined_recording_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "joined.wav", WAV + with_number(WAV, b"fmt ", 0x1234, "<H", behind=8))
    with pytest.raises(AudioError, match=r"joined\.wav: recording 2 of those joined in it cannot be read"):
        read_recording(path)
