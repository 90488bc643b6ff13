"""What a file claims about its own length is never the truth: the whole recording is read, or a word is said."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_cosyvoice.audio import AudioError, AudioWarning, read_recording
from tests.support.sounds import RATE, buzz, encoded, id3, mp3, with_number, written

SECONDS = 3.0
WAVE = buzz(SECONDS)
OTHER = buzz(2.0, hertz=300.0, seed=1)


def read(path: Path, content: bytes) -> tuple[float, list[str]]:
    """(seconds, warnings)."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        recording = read_recording(written(path, content))
    assert all(str(warning.message).startswith(f"{path}: ") for warning in warned)
    assert all(warning.category is AudioWarning for warning in warned)
    return recording.seconds, [str(warning.message) for warning in warned]


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate", [16000, 24000, 44100, 48000])
def test_mp3_from_a_pipe(tmp_path: Path, mode: str, rate: int) -> None:
    """The loudest comes last: a guess from the first frame's bit rate is far off."""
    wave = buzz(SECONDS, rate) * np.linspace(0.01, 1, round(SECONDS * rate), dtype=np.float32)
    seconds, warned = read(tmp_path / "pipe.mp3", mp3(wave, rate, mode))
    assert SECONDS - 0.03 <= seconds <= SECONDS + 0.15  # an encoder adds up to three frames
    assert not warned


def test_mp3_is_read_as_a_decoder_reads_a_sound_file(tmp_path: Path) -> None:
    path = written(tmp_path / "sound.mp3", id3(5000) + mp3(WAVE, tagged=True) + b"TAG".ljust(128, b" "))
    recording = read_recording(path)
    assert recording.seconds == SECONDS
    assert np.abs(recording.samples - soundfile.read(path, dtype="float32")[0]).max() < 1e-6


@pytest.mark.parametrize("between", [b"", id3(3000), b"TAG".ljust(128, b" "), b"TAG".ljust(128, b" ") + id3(77)])
@pytest.mark.parametrize("tagged", [(True, True), (True, False), (False, True), (False, False)])
def test_mp3_joined_by_cat(tmp_path: Path, between: bytes, tagged: tuple[bool, bool]) -> None:
    content = mp3(WAVE, tagged=tagged[0]) + between + mp3(OTHER, tagged=tagged[1])
    seconds, warned = read(tmp_path / "joined.mp3", content)
    assert 4.95 <= seconds <= 5.25
    assert not warned


def test_mp3_joined_from_other_rates_and_channels(tmp_path: Path) -> None:
    stereo = np.stack([buzz(1.5, 44100)] * 2, axis=1)
    content = mp3(WAVE, tagged=True) + mp3(stereo, 44100, tagged=True) + mp3(buzz(1.0, 16000), 16000)
    seconds, warned = read(tmp_path / "joined.mp3", content)
    assert 5.45 <= seconds <= 5.8
    assert not warned


@pytest.mark.parametrize("wrong", [1, 3, 10**6, 2**32 - 1])
def test_mp3_whose_first_frame_lies(tmp_path: Path, wrong: int) -> None:
    content = mp3(WAVE, bitrate_mode="CONSTANT", tagged=True)
    name = b"Info" if b"Info" in content[:200] else b"Xing"
    seconds, _ = read(tmp_path / "lies.mp3", with_number(content, name, wrong, ">I", behind=8))
    assert SECONDS - 0.1 <= seconds <= SECONDS + 0.15


@pytest.mark.parametrize("end", [bytes(2000), b"\x80" * 3000, b"junk" * 100, b"\xff\xfb"])
def test_mp3_with_junk_at_its_end(tmp_path: Path, end: bytes) -> None:
    seconds, warned = read(tmp_path / "junk.mp3", mp3(WAVE, tagged=True) + end)
    assert seconds == pytest.approx(SECONDS, abs=0.1)
    assert not warned


def test_mp3_with_much_that_is_none_says_so(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 250, 20000, dtype=np.uint8).tobytes()
    content = mp3(WAVE)
    for damaged in (content + noise, content[: len(content) // 2] + noise + content[len(content) // 2 :]):
        seconds, warned = read(tmp_path / "damaged.mp3", damaged)
        assert seconds > SECONDS - 0.2
        assert len(warned) == 1
        assert "not MPEG audio and were left out" in warned[0]


def test_mp3_cut_off(tmp_path: Path) -> None:
    content = mp3(WAVE, bitrate_mode="CONSTANT", tagged=True)
    seconds, _ = read(tmp_path / "cut.mp3", content[: len(content) // 2 + 7])
    assert seconds == pytest.approx(SECONDS / 2, abs=0.1)


def flac_with_total(content: bytes, total: int) -> bytes:
    changed = bytearray(content)
    changed[21] = changed[21] & 0xF0 | total >> 32
    changed[22:26] = (total & 2**32 - 1).to_bytes(4, "big")
    return bytes(changed)


def test_flac_from_a_pipe(tmp_path: Path) -> None:
    seconds, warned = read(tmp_path / "pipe.flac", flac_with_total(encoded(WAVE, "FLAC"), 0))
    assert seconds == SECONDS
    assert not warned


@pytest.mark.parametrize("total", [1, 40000, 10**6, 2**36 - 1])
def test_flac_whose_head_lies(tmp_path: Path, total: int) -> None:
    seconds, warned = read(tmp_path / "lies.flac", id3(900) + flac_with_total(encoded(WAVE, "FLAC"), total))
    assert seconds == SECONDS
    assert len(warned) == (total > SECONDS * RATE)  # more than there is may also have been cut off


def test_flac_of_a_recorder_that_was_killed(tmp_path: Path) -> None:
    content = flac_with_total(encoded(WAVE, "FLAC"), 0)
    seconds, warned = read(tmp_path / "killed.flac", content[: len(content) // 2])
    assert seconds == pytest.approx(SECONDS / 2, abs=0.4)
    assert "cut off" in warned[0]


@pytest.mark.parametrize(("format", "subtype"), [
    ("WAV", "PCM_16"), ("WAV", "IMA_ADPCM"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
    ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("CAF", "PCM_16"),
])  # fmt: skip
@pytest.mark.parametrize("rate", [RATE, 48000])
def test_joined_by_cat(tmp_path: Path, format: str, subtype: str, rate: int) -> None:
    content = encoded(WAVE, format, subtype) + encoded(buzz(2.0, rate), format, subtype, rate)
    seconds, warned = read(tmp_path / "joined", content + encoded(OTHER, format, subtype))
    assert seconds == pytest.approx(7.0, abs=0.15)
    assert not warned


WAV = encoded(WAVE, "WAV", "PCM_16")


@pytest.mark.parametrize("size", [0, 2**32 - 1, 2**31 - 1, 2**32 - 300, 10**6])
@pytest.mark.parametrize("riff", [0, 8, 36, 2**32 - 1])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "GSM610"])
def test_wav_of_a_recorder_that_was_killed(tmp_path: Path, size: int, riff: int, subtype: str) -> None:
    content = with_number(encoded(WAVE, "WAV", subtype), b"data", size)
    seconds, warned = read(tmp_path / "killed.wav", with_number(content, b"RIFF", riff))
    assert seconds == pytest.approx(SECONDS, abs=0.02)
    assert len(warned) == 1
    assert "header was not finished" in warned[0]


def test_wav_that_was_cut_off(tmp_path: Path) -> None:
    seconds, warned = read(tmp_path / "cut.wav", WAV[: len(WAV) // 2 + 1])
    assert seconds == pytest.approx(SECONDS / 2, abs=0.01)
    assert len(warned) == 1


@pytest.mark.parametrize("chunk", [b"LIST", b"id3 ", b"JUNK"])
def test_wav_with_more_chunks(tmp_path: Path, chunk: bytes) -> None:
    more = chunk + (6001).to_bytes(4, "little") + bytes(range(256)) * 23 + bytes(114)
    for content in (WAV + more, WAV[:12] + more + WAV[12:], with_number(WAV, b"RIFF", 36) + more):
        assert read(tmp_path / "chunks.wav", content) == (SECONDS, [])


def test_wav_that_tells_of_less_than_it_has_says_so(tmp_path: Path) -> None:
    seconds, warned = read(tmp_path / "less.wav", with_number(WAV, b"data", 48000))
    assert seconds == 1.0
    assert "96000 bytes behind the samples that its header tells of were not read" in warned[0]


@pytest.mark.parametrize("change", [
    lambda: with_number(encoded(WAVE, "AIFF"), b"SSND", 0, ">I"),
    lambda: with_number(encoded(WAVE, "AIFF"), b"SSND", 8, ">I"),
    lambda: with_number(encoded(WAVE, "AIFF"), b"SSND", 2**32 - 1, ">I"),
    lambda: with_number(encoded(WAVE, "AIFF"), b"COMM", 7, ">I", behind=10),
    lambda: with_number(encoded(WAVE, "AU"), b".snd", 0, ">I", behind=8),
    lambda: with_number(encoded(WAVE, "AU"), b".snd", 2**32 - 1, ">I", behind=8),
    lambda: with_number(encoded(WAVE, "CAF"), b"data", -1, ">q"),
    lambda: with_number(encoded(WAVE, "CAF"), b"data", 2**62, ">q"),
    lambda: with_number(encoded(WAVE, "RF64"), b"ds64", 0, "<Q", behind=16),
    lambda: with_number(encoded(WAVE, "RF64"), b"ds64", 2**64 - 1, "<Q", behind=16),
    lambda: with_number(encoded(WAVE, "W64"), b"data", 0, "<Q", behind=16),
    lambda: with_number(encoded(WAVE, "W64"), b"data", 2**62, "<Q", behind=16),
])  # fmt: skip
def test_other_heads_that_lie(tmp_path: Path, change: Callable[[], bytes]) -> None:
    seconds, _ = read(tmp_path / "lies", change())
    assert seconds == pytest.approx(SECONDS, abs=0.01)


def test_a_limit_is_no_refusal_of_what_a_codec_adds(tmp_path: Path) -> None:
    path = written(tmp_path / "thirty.mp3", mp3(buzz(30.0, 16000), 16000))
    assert 30.0 < read_recording(path, max_seconds=30).seconds < 30.2
    path = written(tmp_path / "more.mp3", mp3(buzz(31.0, 16000), 16000))
    with pytest.raises(AudioError, match=r"more\.mp3: 31\.\d s of audio is too long; at most 30 s are allowed, so cho"):
        read_recording(path, max_seconds=30)


def test_a_limit_is_said_with_a_length_above_it(tmp_path: Path) -> None:
    path = written(tmp_path / "more.wav", encoded(buzz(30.0005), "WAV"))
    with pytest.raises(AudioError, match=r"more\.wav: 30\.0005 s of audio"):
        read_recording(path, max_seconds=30)
    path = written(tmp_path / "long.wav", encoded(np.tile(WAVE, 50), "WAV"))
    with pytest.raises(AudioError, match=r"long\.wav: more than 40 s of audio is too long"):
        read_recording(path, max_seconds=30)
