"""Audio files written chunk by chunk: every format, what is refused, and what stands under which name when."""

from __future__ import annotations

import io
import os
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.audio import AudioError, AudioWriter, open_audio
from mlx_cosyvoice.audio.formats import FORMATS, find_format
from mlx_cosyvoice.audio.pcm import SAMPLE_BYTES, encode_pcm

RATE = 24000


def tone(seconds: float = 1.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * 440 * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)


def write_in_chunks(out: AudioWriter, samples: np.ndarray, size: int = 1777) -> None:
    for start in range(0, len(samples), size):
        out.write(samples[start : start + size])


@pytest.mark.parametrize(("name", "options", "expected", "tolerance"), [
    ("a.wav", {}, ("WAV", "PCM_16"), 0.5 / 2**15), ("a.WAV", {}, ("WAV", "PCM_16"), 0.5 / 2**15),
    ("a.wave", {"subtype": "pcm24"}, ("WAV", "PCM_24"), 0.5 / 2**23),
    ("a.wav", {"subtype": "PCM_24"}, ("WAV", "PCM_24"), 0.5 / 2**23),
    ("a.wav", {"subtype": "float"}, ("WAV", "FLOAT"), 0.0), ("a.flac", {}, ("FLAC", "PCM_16"), 1 / 2**15),
    ("a.flac", {"subtype": "pcm24"}, ("FLAC", "PCM_24"), 1 / 2**22), ("a.ogg", {}, ("OGG", "VORBIS"), 5e-2),
    ("a.oga", {"subtype": "opus"}, ("OGG", "OPUS"), 1e-1), ("a.opus", {}, ("OGG", "OPUS"), 1e-1),
    ("a.mp3", {}, ("MP3", "MPEG_LAYER_III"), 5e-2), ("a", {"format": "wav"}, ("WAV", "PCM_16"), 0.5 / 2**15),
    ("a.txt", {"format": "flac"}, ("FLAC", "PCM_16"), 1 / 2**15),
])  # fmt: skip
def test_formats(
    tmp_path: Path, name: str, options: dict[str, Any], expected: tuple[str, str], tolerance: float
) -> None:
    path = tmp_path / name
    with open_audio(path, RATE, **options) as out:
        write_in_chunks(out, tone())
        assert not path.exists()
        assert out.seconds == 1.0
    info = soundfile.info(path)
    assert (info.format, info.subtype) == expected
    assert (info.samplerate, info.channels, info.frames) == (RATE, 1, RATE)
    read, _ = soundfile.read(path, dtype="float32")
    inner = slice(2000, -2000)  # lossy codecs smear the ends
    assert np.abs(read[inner] - tone()[inner]).max() <= tolerance
    assert os.listdir(tmp_path) == [name]


def test_every_listed_format_and_subtype_is_written(tmp_path: Path) -> None:
    for format in FORMATS:
        for subtype in format.subtypes:
            path = tmp_path / f"{format.name}-{subtype}{format.extensions[-1]}"
            with open_audio(path, RATE, subtype=subtype) as out:
                out.write(tone())
            if format.name != "raw":
                assert soundfile.info(path).subtype == format.subtypes[subtype]
            assert find_format(path)[0] is format


def test_raw_is_16_bit_little_endian(tmp_path: Path) -> None:
    with open_audio(tmp_path / "a.raw", RATE) as out:
        out.write(np.array([0.0, 0.5, -1.0, 1.0, 1 / 2**15], np.float32))
    assert np.fromfile(tmp_path / "a.raw", "<i2").tolist() == [0, 16384, -32768, 32767, 1]


@pytest.mark.parametrize("subtype", ["pcm16", "pcm24", "float"])
@pytest.mark.parametrize("count", [1, 2, 3, 4801])
def test_other_programs_read_the_wav(tmp_path: Path, subtype: str, count: int) -> None:
    with open_audio(tmp_path / "a.wav", RATE, subtype=subtype) as out:
        write_in_chunks(out, tone()[:count], 1000)
    content = (tmp_path / "a.wav").read_bytes()
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    assert len(content) % 2 == 0
    if subtype != "float":
        with wave.open(str(tmp_path / "a.wav")) as file:
            assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (RATE, 1, count)
            assert file.readframes(count) == encode_pcm(tone()[:count], subtype)


@settings(deadline=None)
@given(
    st.lists(st.floats(-1, 1, width=32), max_size=50),
    st.sampled_from([name for name in SAMPLE_BYTES if name != "float"]),
)
def test_integers_are_the_nearest(values: list[float], subtype: str) -> None:
    samples = np.array(values, np.float32)
    data = encode_pcm(samples, subtype)
    width = SAMPLE_BYTES[subtype]
    read = [
        int.from_bytes(data[start : start + width], "little", signed=True) / 2 ** (8 * width - 1)
        for start in range(0, len(data), width)
    ]
    assert len(read) == len(values)
    step = 2.0 ** (1 - 8 * width)
    for value, integer in zip(values, read, strict=True):
        assert abs(min(value, 1 - step) - integer) <= step / 2


def test_a_wav_beyond_4_gb_becomes_rf64(tmp_path: Path) -> None:
    """Without 4 GB of samples: the file has a hole."""
    path = tmp_path / "a.wav"
    with open_audio(path, RATE) as out:
        out.write(tone())
        out._file._data = 2**32 + 2  # type: ignore[attr-defined]
        out.write(tone())
    info = soundfile.info(path)
    assert info.format == "RF64"
    assert info.frames == 2**31 + 1 + RATE
    with soundfile.SoundFile(path) as file:
        file.seek(2**31 + 1)
        assert np.abs(file.read(dtype="float32") - tone()).max() <= 0.5 / 2**15


def test_the_largest_plain_wav(tmp_path: Path) -> None:
    sizes = []
    for data in (2**32 - 100, 2**32 - 70):
        with open_audio(tmp_path / f"{data}.wav", RATE) as out:
            out._file._data = data  # type: ignore[attr-defined]
            out.write(np.zeros(1, np.float32))
        sizes.append((soundfile.info(tmp_path / f"{data}.wav").format, soundfile.info(tmp_path / f"{data}.wav").frames))
    assert sizes == [("WAV", 2**31 - 49), ("RF64", 2**31 - 34)]


def test_clipping_is_counted(tmp_path: Path) -> None:
    with open_audio(tmp_path / "a.wav", RATE) as out:
        out.write(np.array([1.5, -2.0, 0.25, 1.0, -1.0], np.float32))
        assert out.clipped == 2
    assert soundfile.read(tmp_path / "a.wav", dtype="int16")[0].tolist() == [32767, -32768, 8192, 32767, -32768]
    with open_audio(tmp_path / "b.wav", RATE, subtype="float") as out:
        out.write(np.array([1.5, -2.0], np.float32))
        assert out.clipped == 0
    assert soundfile.read(tmp_path / "b.wav")[0].tolist() == [1.5, -2.0]


@pytest.mark.parametrize(("chunk", "message"), [
    (np.array([0.0, np.nan, np.inf]), r"a\.wav: 2 samples are NaN or infinite"),
    (np.zeros((1, 9)), r"not of shape \[1, 9\]"),
])  # fmt: skip
def test_bad_chunks_are_refused_and_the_audio_before_is_kept(tmp_path: Path, chunk: np.ndarray, message: str) -> None:
    out = open_audio(tmp_path / "a.wav", RATE)
    with pytest.raises(ValueError, match=message), out:  # noqa: PT012
        out.write(tone())
        out.write(chunk)
    assert out.kept == tmp_path / "a.partial.wav"
    assert os.listdir(tmp_path) == ["a.partial.wav"]
    assert soundfile.info(out.kept).frames == RATE


def test_empty_chunks_are_nothing(tmp_path: Path) -> None:
    with open_audio(tmp_path / "a.wav", RATE) as out:
        out.write(np.zeros(0, np.float32))
        out.write(tone())
        out.write(np.zeros(0, np.float32))
    assert soundfile.info(tmp_path / "a.wav").frames == RATE


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.raw"])
def test_no_samples_no_file(tmp_path: Path, name: str) -> None:
    with open_audio(tmp_path / name, RATE):
        assert len(os.listdir(tmp_path)) == 1
    assert os.listdir(tmp_path) == []
    with pytest.raises(ZeroDivisionError), open_audio(tmp_path / name, RATE):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3"])
def test_an_interruption_keeps_what_was_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyboardInterrupt), open_audio(tmp_path / name, RATE) as out:  # noqa: PT012
        out.write(tone())
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == [name]
    assert soundfile.info(tmp_path / name).frames == RATE


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_another_error_keeps_it_under_the_partial_name(tmp_path: Path, name: str) -> None:
    out = open_audio(tmp_path / name, RATE)
    with pytest.raises(ZeroDivisionError), out:  # noqa: PT012
        out.write(tone())
        raise ZeroDivisionError
    assert out.kept is not None
    assert os.listdir(tmp_path) == [out.kept.name]
    assert ".partial" in out.kept.name
    assert soundfile.info(out.kept).frames == RATE


def test_a_partial_file_of_before_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.partial.wav").write_bytes(b"saved")
    with open_audio(tmp_path / "a.wav", RATE, force=True) as out, open_audio(tmp_path / "a.wav", RATE) as other:
        assert (out.partial, other.partial) == (tmp_path / "a.partial-2.wav", tmp_path / "a.partial-3.wav")
        out.write(tone())
        other.write(tone(0.5))
    assert (tmp_path / "a.partial.wav").read_bytes() == b"saved"
    assert sorted(os.listdir(tmp_path)) == ["a.partial.wav", "a.wav"]


def test_never_overwrites_without_force(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=r"a\.wav exists; give force=True \(--force\)"):
        open_audio(path, RATE)
    assert path.read_bytes() == b"precious"
    with open_audio(path, RATE, force=True) as out:
        out.write(tone())
        assert path.read_bytes() == b"precious"
    assert soundfile.info(path).frames == RATE
    assert os.listdir(tmp_path) == ["a.wav"]


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with pytest.raises(FileExistsError, match=r"meanwhile; the audio is in .*a\.partial\.wav"), \
            open_audio(path, RATE) as out:  # fmt: skip  # noqa: PT012
        out.write(tone())
        path.write_bytes(b"precious")
    assert path.read_bytes() == b"precious"
    assert out.kept is not None
    assert soundfile.info(out.kept).frames == RATE


def test_a_dangling_link_is_a_file_that_exists(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to(tmp_path / "nowhere.wav")
    with pytest.raises(FileExistsError, match="exists; give force"):
        open_audio(tmp_path / "a.wav", RATE)


@pytest.mark.parametrize(("name", "options", "message"), [
    ("a.xyz", {}, r"a\.xyz: the extension '\.xyz' is not known; use one of \.wav.*\.flac.*\.ogg.*\.opus.*\.mp3.*\.raw"),
    ("a", {}, "the file name has no extension; use one of .*or give the format: wav, flac, ogg, opus, mp3, raw"),
    ("a.wav", {"format": "aac"}, "format 'aac' is not known; known are wav, flac, ogg, opus, mp3, raw"),
    ("a.wav", {"subtype": "vorbis"}, "subtype 'vorbis' is not one of wav: pcm16, pcm24, float"),
    ("a.flac", {"subtype": "float"}, "subtype 'float' is not one of flac: pcm16, pcm24"),
    ("-", {"format": "flac"}, "only raw audio can be written to standard output, not flac"),
])  # fmt: skip
def test_unknown_formats(tmp_path: Path, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(AudioError, match=message):
        open_audio(name if name == "-" else tmp_path / name, RATE, **options)
    assert os.listdir(tmp_path) == []


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"b\.wav: the folder .*missing does not exist"):
        open_audio(tmp_path / "missing" / "b.wav", RATE)
    with pytest.raises(IsADirectoryError, match="is a folder; give the name of a file in it"):
        open_audio(tmp_path, RATE)
    with pytest.raises(OSError, match="too long"):
        open_audio(tmp_path / ("a" * 252 + ".wav"), RATE)


def test_a_sample_rate_that_the_format_lacks(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"cannot write OGG \(OPUS\) at 22050 Hz"):
        open_audio(tmp_path / "a.opus", 22050)
    with pytest.raises(AudioError, match="sample_rate must be positive, not 0"):
        open_audio(tmp_path / "a.wav", 0)
    assert os.listdir(tmp_path) == []


def test_a_libsndfile_without_mp3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "", "FLAC": ""})
    with pytest.raises(AudioError, match=r"libsndfile .* cannot write MP3 .*upgrade soundfile, or write wav"):
        open_audio(tmp_path / "a.mp3", RATE)
    assert os.listdir(tmp_path) == []


def test_a_device_takes_raw_samples_and_stays(tmp_path: Path) -> None:
    with open_audio("/dev/null", RATE) as out:
        out.write(tone())
    assert Path("/dev/null").is_char_device()
    with pytest.raises(AudioError, match="/dev/null: only raw audio can be written to a device or pipe, not wav"):
        open_audio("/dev/null", RATE, format="wav")
    with pytest.raises(OSError, match="No space left"), open_audio("/dev/full", RATE) as out:
        out.write(tone())


def test_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer))
    with open_audio("-", RATE) as out:
        out.write(tone())
        assert len(buffer.getvalue()) == 2 * RATE  # at once
        out.write(tone(0.5))
    assert buffer.getvalue() == encode_pcm(np.concatenate([tone(), tone(0.5)]), "pcm16")


def test_no_raw_samples_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(AudioError, match="standard output is a terminal; pipe it"):
        open_audio("-", RATE)


def test_written_after_the_end(tmp_path: Path) -> None:
    with open_audio(tmp_path / "a.wav", RATE) as out:
        out.write(tone())
    out.close()
    out.abandon()
    with pytest.raises(ValueError, match="closed already"):
        out.write(tone())
    assert os.listdir(tmp_path) == ["a.wav"]
