"""Audio files in and out: every format that soundfile writes, any rate, and one clear error for each bad file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_cosyvoice.audio import MAX_PROMPT_SECONDS, AudioError, load_audio, read_recording, write_wav
from tests.support.process import ROOT

SAMPLE = ROOT / "parity" / "data" / "sample.wav"


def tone(rate: int, hz: float = 440.0, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)


def loudest_hz(wave: np.ndarray, rate: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(wave * np.hanning(len(wave))))) * rate / len(wave))


@pytest.mark.parametrize(("suffix", "subtype", "tolerance"), [
    ("wav", "PCM_U8", 1e-2), ("wav", "PCM_16", 1e-4), ("wav", "PCM_24", 1e-6), ("wav", "PCM_32", 1e-6),
    ("wav", "FLOAT", 1e-6), ("wav", "DOUBLE", 1e-6), ("wav", "ULAW", 2e-2), ("flac", "PCM_16", 1e-4),
    ("flac", "PCM_24", 1e-6), ("ogg", "VORBIS", 5e-2), ("aiff", "PCM_16", 1e-4), ("caf", "PCM_16", 1e-4),
    ("w64", "PCM_16", 1e-4), ("mp3", "MPEG_LAYER_III", 5e-2),
])  # fmt: skip
def test_formats(tmp_path: Path, suffix: str, subtype: str, tolerance: float) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(16000), 16000, subtype=subtype)
    wave = load_audio(path, 16000)
    assert wave.dtype == np.float32
    assert wave.ndim == 1
    inner = slice(2000, 14000)  # lossy codecs smear the ends
    assert np.abs(wave[inner] - tone(16000)[inner]).max() < tolerance


def test_content_decides_about_the_format(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(16000), 16000)
    path = (tmp_path / "tone.wav").rename(tmp_path / "ton \u00e9 \u8bed.mp3")
    assert len(load_audio(path, 16000)) == 16000


@pytest.mark.parametrize("target", [16000, 24000])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 44100, 48000, 192000])
def test_resampling_keeps_length_and_pitch(tmp_path: Path, rate: int, target: int) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(rate, 1000.0), rate)
    wave = load_audio(tmp_path / "tone.wav", target)
    assert abs(len(wave) - target) <= 1
    assert loudest_hz(wave, target) == pytest.approx(1000.0, abs=1.5)
    assert np.abs(wave).max() == pytest.approx(0.5, abs=0.05)


def test_resampling_removes_what_would_alias(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(48000, 440.0) + 0.4 * tone(48000, 11000.0), 48000)
    wave = load_audio(tmp_path / "tone.wav", 16000)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    assert spectrum[4950:5050].max() < 1e-3 * spectrum.max()  # 11 kHz would fold to 5 kHz


def test_eight_channels_at_192_khz(tmp_path: Path) -> None:
    channels = np.stack([gain * tone(192000, 1000.0) for gain in np.linspace(0.2, 1.0, 8)], axis=1)
    soundfile.write(tmp_path / "eight.wav", channels, 192000, subtype="PCM_24")
    wave = load_audio(tmp_path / "eight.wav", 16000)
    assert len(wave) == 16000
    assert np.abs(wave[2000:-2000] - 0.6 * tone(16000, 1000.0)[2000:-2000]).max() < 1e-3


def test_shipped_sample() -> None:
    assert SAMPLE.stat().st_size < 200_000
    info = soundfile.info(SAMPLE)
    assert (info.channels, info.subtype) == (1, "PCM_16")
    assert 4.0 <= info.duration <= 6.0
    assert 0.1 < np.abs(load_audio(SAMPLE, 24000, max_seconds=MAX_PROMPT_SECONDS)).max() < 1.0


def bad(tmp_path: Path, name: str, samples: np.ndarray | bytes) -> Path:
    path = tmp_path / name
    if isinstance(samples, bytes):
        path.write_bytes(samples)
    else:
        soundfile.write(path, samples, 16000, subtype="FLOAT")
    return path


def test_error_missing(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"nowhere\.wav: no such file"):
        load_audio(tmp_path / "nowhere.wav", 16000)


def test_error_folder(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="is a folder"):
        load_audio(tmp_path, 16000)


@pytest.mark.parametrize(("name", "content"), [
    ("text.wav", b"this is not audio" * 100), ("nothing.wav", b""), ("headerless.raw", b"\x00\x01" * 9000),
])  # fmt: skip
def test_error_not_audio(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(AudioError, match=f"{name}: cannot be read as audio"):
        load_audio(bad(tmp_path, name, content), 16000)


def test_error_not_audio_says_what_libsndfile_says(tmp_path: Path) -> None:
    path = bad(tmp_path, "text.wav", b"this is not audio" * 100)
    with pytest.raises(AudioError) as error:
        load_audio(path, 16000)
    assert str(error.value).startswith(f"{path}: cannot be read as audio (Format not recognised.); wav")


def test_a_recording_at_several_rates_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "tone.flac"
    soundfile.write(path, np.stack([tone(22050), 0.5 * tone(22050)], axis=1), 22050)
    expected = {rate: load_audio(path, rate) for rate in (16000, 22050, 24000)}
    content = path.read_bytes()
    recording = read_recording(path)
    path.unlink()
    assert recording.sample_rate == 22050
    assert recording.sha256 == hashlib.sha256(content).hexdigest()
    for rate, wave in expected.items():
        assert np.array_equal(recording.at(rate), wave)
    with pytest.raises(ValueError, match="sample_rate must be positive, not -1"):
        recording.at(-1)


def test_error_truncated_flac(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 48000)
    soundfile.write(tmp_path / "whole.flac", noise, 16000)
    content = (tmp_path / "whole.flac").read_bytes()
    with pytest.raises(AudioError, match=r"half\.flac: "):
        load_audio(bad(tmp_path, "half.flac", content[: len(content) // 2]), 16000)


def test_error_empty(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"empty\.wav: the audio file is empty"):
        load_audio(bad(tmp_path, "empty.wav", np.zeros(0)), 16000)


def test_error_too_short(tmp_path: Path) -> None:
    path = bad(tmp_path, "click.wav", tone(16000, seconds=0.4))
    with pytest.raises(AudioError, match=r"click\.wav: 0\.400 s of audio is too short; at least 0\.5 s"):
        load_audio(path, 16000)
    assert len(load_audio(path, 16000, min_seconds=0.1)) == 6400


def test_error_too_long(tmp_path: Path) -> None:
    path = bad(tmp_path, "speech.wav", tone(16000, seconds=30.01))
    with pytest.raises(AudioError, match=r"speech\.wav: 30\.01 s of audio is too long; at most 30 s"):
        load_audio(path, 16000, max_seconds=MAX_PROMPT_SECONDS)
    assert len(load_audio(path, 16000)) == 480160
    exact = bad(tmp_path, "exact.wav", tone(16000, seconds=30.0))
    assert len(load_audio(exact, 16000, max_seconds=MAX_PROMPT_SECONDS)) == 480000


@pytest.mark.parametrize(("level", "named"), [(0.0, "all zeros"), (5e-4, "-66 dBFS")])
def test_error_silent(tmp_path: Path, level: float, named: str) -> None:
    with pytest.raises(AudioError, match=rf"mute\.wav: the audio is silent \(peak {named}"):
        load_audio(bad(tmp_path, "mute.wav", np.full(16000, level)), 16000)


def test_error_channels_that_cancel(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"silent .*mixed to mono"):
        load_audio(bad(tmp_path, "stereo.wav", np.stack([tone(16000), -tone(16000)], axis=1)), 16000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_error_not_finite(tmp_path: Path, value: float) -> None:
    samples = tone(16000)
    samples[[7, 4000]] = value
    with pytest.raises(AudioError, match=r"broken\.wav: 2 samples are NaN or infinite"):
        load_audio(bad(tmp_path, "broken.wav", samples), 16000)


def test_error_sample_rate(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sample_rate must be positive, not 0"):
        load_audio(SAMPLE, 0)


def test_audio_error_is_a_value_error() -> None:
    assert issubclass(AudioError, ValueError)


def test_write_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    write_wav(path, tone(24000), 24000)
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.format, info.subtype) == (24000, 1, "WAV", "PCM_16")
    assert np.abs(load_audio(path, 24000) - tone(24000)).max() <= 1 / 32768
    assert os.listdir(tmp_path) == ["out.wav"]


def test_write_clips(tmp_path: Path) -> None:
    write_wav(tmp_path / "loud.wav", 4 * tone(24000), 24000)
    wave = load_audio(tmp_path / "loud.wav", 24000)
    assert wave.max() > 0.999
    assert wave.min() == -1.0


def test_write_refuses_to_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=r"out\.wav exists; give force=True"):
        write_wav(path, tone(24000), 24000)
    assert path.read_bytes() == b"precious"
    write_wav(path, tone(24000), 24000, force=True)
    assert len(load_audio(path, 24000)) == 24000


@pytest.mark.parametrize("force", [False, True])
def test_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool) -> None:
    path = tmp_path / "out.wav"
    if force:
        path.write_bytes(b"precious")

    def full(descriptor: int, data: memoryview, position: int) -> int:
        if position + len(data) > 1000:
            raise OSError(28, "No space left on device")
        return real(descriptor, data, position)

    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        write_wav(path, tone(24000), 24000, force=force)
    assert os.listdir(tmp_path) == (["out.wav"] if force else [])
    assert not force or path.read_bytes() == b"precious"


def test_write_needs_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the folder .*missing does not exist"):
        write_wav(tmp_path / "missing" / "out.wav", tone(24000), 24000)


@pytest.mark.parametrize(("samples", "message"), [
    (np.zeros(0), r"non-empty \[samples\] array"), (np.zeros((1, 9)), r"not of shape \[1, 9\]"),
    (np.array([0.0, np.nan]), "1 samples are NaN or infinite"),
])  # fmt: skip
def test_write_refuses_bad_samples(tmp_path: Path, samples: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_wav(tmp_path / "out.wav", samples, 24000)
    assert os.listdir(tmp_path) == []
