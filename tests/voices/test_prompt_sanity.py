"""Prompts that a voice cannot be taken from, and those that are taken with a word."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from mlx_cosyvoice import CosyVoice2, Voice
from mlx_cosyvoice.audio import AudioError, AudioWarning, Recording, read_recording
from mlx_cosyvoice.audio.trim import trimmed
from mlx_cosyvoice.cli import main
from mlx_cosyvoice.cli.recordings import moment
from mlx_cosyvoice.text.pace import mismatch
from tests.support.process import ROOT
from tests.support.sounds import RATE, buzz, encoded, written

SAMPLE = ROOT / "parity" / "data" / "sample.wav"
TRANSCRIPT = SAMPLE.with_suffix(".txt").read_text(encoding="utf-8").strip()


@pytest.mark.parametrize(("wave", "why"), [
    (np.full(RATE, 0.5), "a constant offset of 0.5"),
    (np.full(RATE, -0.01), "a constant offset of -0.01"),
    (np.repeat([0.0, 0.4], RATE), "a constant offset"),  # switched on in the middle
    (0.3 + 4e-4 * np.sin(np.arange(RATE) / 7), "a constant offset of 0.3"),
    (8e-4 * np.sin(np.arange(RATE) / 7), "peak -62 dBFS"),
    (np.zeros(RATE), "all zeros"),
    (np.eye(1, RATE, 5000)[0], "but for a click"),
])  # fmt: skip
def test_silence(wave: np.ndarray, why: str) -> None:
    with pytest.raises(AudioError, match=rf"the audio is silent \(.*{why}.*mixed to mono"):
        read_recording(wave, sample_rate=RATE)


def test_a_quiet_voice_with_an_offset_is_heard() -> None:
    assert read_recording(0.2 + 0.01 * buzz(1.0), sample_rate=RATE).seconds == 1.0


def warnings_of(recording: Recording) -> tuple[Recording, list[str]]:
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        result = trimmed(recording)
    return result, [str(warning.message) for warning in messages]


def padded(before: float, after: float, level: float = 0.0) -> Recording:
    wave = np.concatenate([np.zeros(round(before * RATE)), buzz(2.0), np.zeros(round(after * RATE))])
    wave += level * np.random.default_rng(3).standard_normal(len(wave))
    return Recording(wave.astype(np.float32), RATE, "", "a.wav")


def test_short_silence_stays_as_the_official_frontend_has_it() -> None:
    for recording in (padded(0.9, 0.8), read_recording(SAMPLE)):
        assert warnings_of(recording) == (recording, [])


@pytest.mark.parametrize(("before", "after"), [(5.0, 0.0), (0.0, 8.0), (3.0, 2.0)])
def test_long_silence_is_cut_off_and_said(before: float, after: float) -> None:
    recording = padded(before, after)
    result, messages = warnings_of(recording)
    assert result.seconds == pytest.approx(2.0 + 0.2 * (before > 0) + 0.2 * (after > 0), abs=0.15)
    assert len(messages) == 1
    assert messages[0].startswith("a.wav: of silence, ")
    assert "were left out" in messages[0]


def test_noise_without_a_voice_is_said() -> None:
    recording = padded(3.0, 0.0, level=4e-4)
    result, messages = warnings_of(recording)
    assert result is recording
    assert len(messages) == 1
    assert "nobody seems to speak in 3.0 s at its start and 0.1 s at its end" in messages[0]
    assert "--start" in messages[0]


def test_too_little_is_left() -> None:
    wave = np.concatenate([np.zeros(3 * RATE), buzz(0.3), np.zeros(3 * RATE)]).astype(np.float32)
    with pytest.raises(AudioError, match=r"a\.wav: 0\.3\d\d s of audio is too short"):
        trimmed(Recording(wave, RATE, "", "a.wav"))


@pytest.mark.parametrize(("transcript", "seconds"), [
    ("The quick brown fox jumps over the lazy dog.", 3.0), ("The quick brown fox jumps over the lazy dog.", 10.0),
    ("希望你以后能够做的比我还好呦。", 3.5),
    ("こんにちは、世界。お元気ですか。", 3.0), ("안녕하세요. 만나서 반갑습니다.", 3.0),
    ("Сегодня хорошая погода, пойдём гулять.", 3.0), ("نعم، الطقس جميل اليوم", 3.0), ("2024年", 2.0),
    ("[laughter] Yes!", 3.0),
    ("Mixed 中文 and English 日本語", 4.0),
])  # fmt: skip
def test_transcripts_that_fit(transcript: str, seconds: float) -> None:
    assert mismatch(transcript, seconds) is None


@pytest.mark.parametrize(("transcript", "seconds", "why"), [
    ("The quick brown fox jumps over the lazy dog. " * 10, 3.0, "at least"), ("好" * 60, 3.0, "at least"),
    ("안" * 60, 3.0, "at least"), ("Yes.", 12.0, "at most"), ("好。", 12.0, "at most"), ("...", 3.0, "nothing that"),
    ("[laughter]", 3.0, "nothing that"),
])  # fmt: skip
def test_transcripts_that_cannot_fit(transcript: str, seconds: float, why: str) -> None:
    assert why in (mismatch(transcript, seconds) or "")


def test_clone_takes_what_there_is_and_says_what_is_odd(tts: CosyVoice2) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        voice = tts.clone(SAMPLE, TRANSCRIPT)
    whole = read_recording(SAMPLE)
    for other in (
        tts.clone(SAMPLE.read_bytes(), TRANSCRIPT),
        tts.clone(whole.samples, TRANSCRIPT, sample_rate=whole.sample_rate),
        tts.clone((whole.samples, whole.sample_rate), TRANSCRIPT),
    ):
        assert other.fingerprint == voice.fingerprint
    with SAMPLE.open("rb") as file:
        assert tts.clone(file, TRANSCRIPT).fingerprint == voice.fingerprint
    part = tts.clone(SAMPLE, start=1.0, end=3.0)
    assert part.seconds == pytest.approx(2.0, abs=0.05)
    assert part.provenance["part"] == "1 s to 3 s"
    with pytest.warns(AudioWarning, match=r"sample\.wav: the transcript takes at least"):
        tts.clone(SAMPLE, TRANSCRIPT * 20)


def test_a_text_far_shorter_than_the_transcript(tts: CosyVoice2) -> None:
    voice = tts.clone(SAMPLE, TRANSCRIPT)
    with pytest.warns(UserWarning, match=r"the text 'Hi\.' has \d tokens and the voice's transcript \d+"):
        tts.stream("Hi.", voice).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tts.stream(TRANSCRIPT, voice).close()
        tts.stream("Hi.", voice, mode="cross_lingual").close()


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("7.25", 7.25), ("1:30", 90), ("1:02:03.5", 3723.5), ("0", 0)])
def test_moments(text: str, seconds: float) -> None:
    assert moment(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "1:60", "1:-2", "1:2:3:4", "nan", "inf", "1:", ":3", "1.5:3"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        moment(text)


def test_voices_add_takes_a_part(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "talk.wav", encoded(buzz(70.0), "WAV"))
    add = ["voices", "add", "anna", str(path), "--model", str(tiny_model), "--voices", str(tmp_path / "voices")]
    assert main(add) == 1
    assert "choose a part of it (start and end; --start and --end)" in capsys.readouterr().err
    assert main([*add, "--start", "1:02", "--end", "1:06.5", "--transcript", "What Anna says there."]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "added anna, 4.5 s" in shown.out
    voice = Voice.load(tmp_path / "voices" / "anna.safetensors")
    assert voice.provenance["part"] == "62 s to 66.5 s"
    odd = ["--start", "1", "--end", "6", "--transcript", "好" * 200, "--force"]
    assert main([*add, *odd]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"mlx-cosyvoice: warning: {path}: the transcript takes at least")
