"""Recordings of any length are said again piece by piece."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mlx_cosyvoice import CosyVoice2
from mlx_cosyvoice.audio import AudioError, read_recording, recording_pieces
from mlx_cosyvoice.audio.pieces import quietest
from mlx_cosyvoice.cli import main
from tests.support.process import ROOT
from tests.support.sounds import RATE, buzz, encoded, mp3, written

SAMPLE = ROOT / "parity" / "data" / "sample.wav"


def talk(seconds: float) -> np.ndarray:
    """Sentences of about 7 s, with a second of quiet between them."""
    wave = buzz(seconds)
    wave[np.arange(len(wave)) / RATE % 8.0 > 7.0] *= 0.02
    return wave


@pytest.mark.parametrize("seconds", [0.6, 29.9, 30.0, 30.04, 95.3])
def test_the_pieces_are_the_recording(tmp_path: Path, seconds: float) -> None:
    wave = talk(seconds)
    for source in (written(tmp_path / "talk.wav", encoded(wave, "WAV", "FLOAT")), (wave, RATE)):
        pieces = list(recording_pieces(source))
        assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), wave)
        assert all(0.5 <= piece.seconds <= 30 for piece in pieces)
        assert len(pieces) == 1 if seconds <= 30 else len(pieces) <= seconds / 15 + 1
        for piece in pieces[:-1]:
            assert len(piece.samples) % (RATE // 25) == 0  # whole speech tokens
            assert np.abs(piece.samples[-RATE // 20 :]).max() < 0.02


def test_a_cut_without_any_quiet_place() -> None:
    assert 15 * RATE < quietest(np.ones(30 * RATE, np.float32), RATE) <= 30 * RATE


def test_a_part_of_a_long_recording(tmp_path: Path) -> None:
    path = written(tmp_path / "talk.mp3", mp3(talk(80.0)))
    pieces = list(recording_pieces(path, start=10, end=75))
    assert sum(piece.seconds for piece in pieces) == pytest.approx(65)
    whole = read_recording(path, start=10, end=75)
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), whole.samples)


def test_silence_is_refused_where_there_is_nothing_else(tmp_path: Path) -> None:
    silence = np.zeros(40 * RATE)
    with pytest.raises(AudioError, match=r"mute\.wav: the audio is silent"):
        next(recording_pieces(written(tmp_path / "mute.wav", encoded(silence, "WAV"))))
    late = written(tmp_path / "late.wav", encoded(np.concatenate([silence, talk(10)]), "WAV"))
    assert sum(piece.seconds for piece in recording_pieces(late)) == 50
    for content, message in ((np.zeros(0), "empty"), (buzz(0.3), "too short"), (np.full(RATE, 0.2), "silent")):
        with pytest.raises(AudioError, match=message):
            next(recording_pieces(encoded(content, "WAV")))


def test_numbers_that_are_none_are_found_where_they_are(tmp_path: Path) -> None:
    wave = talk(70.0)
    wave[-RATE] = np.nan
    pieces = recording_pieces(written(tmp_path / "broken.wav", encoded(wave, "WAV", "FLOAT")))
    assert len(list(itertools.islice(pieces, 2))) == 2
    with pytest.raises(AudioError, match=r"broken\.wav: 1 samples are NaN or infinite"):
        list(pieces)


def test_memory_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    peaks = []
    for minutes in (1, 6):
        written(path, encoded(np.tile(talk(60.0), minutes), "WAV", "PCM_16"))
        tracemalloc.start()
        for _ in recording_pieces(path):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_a_long_recording_is_converted_piece_by_piece(tts: CosyVoice2, tmp_path: Path) -> None:
    voice = tts.clone(SAMPLE)
    path = written(tmp_path / "talk.wav", encoded(talk(38.0), "WAV", "PCM_16"))
    pieces = list(recording_pieces(path))
    chunks = list(tts.convert_voice(path, voice, n_timesteps=1))
    assert len(chunks) == len(pieces) == 2
    assert sum(map(len, chunks)) == pytest.approx(38.0 * RATE, abs=0.08 * RATE)
    alone = next(tts.convert_voice(path, voice, n_timesteps=1, end=pieces[0].seconds))
    assert np.array_equal(chunks[0], alone)
    with pytest.raises(AudioError, match="no such file"):  # at the call
        tts.convert_voice(tmp_path / "none.wav", voice)


def test_the_command_converts_a_part(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = written(tmp_path / "talk.wav", encoded(talk(70.0), "WAV")), tmp_path / "out.wav"
    command = ["convert-voice", str(source), "--prompt", str(SAMPLE), "--model", str(tiny_model), "--out", str(out)]
    assert main([*command, "--start", "1:02", "--end", "1:04", "--steps", "1", "--prompt-end", "3"]) == 0
    assert read_recording(out, min_seconds=0).seconds == pytest.approx(2.0, abs=0.08)
    capsys.readouterr()
    assert main([*command, "--start", "1:20", "--force"]) == 1
    assert "talk.wav: ends after 70.00 s, before the start at 80 s" in capsys.readouterr().err


def test_a_voice_is_no_part_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["speak", "Hello.", "--voice", "anna", "--start", "3", "--model", "m", "--out", str(tmp_path / "a.wav")]
    assert main(command) == 1
    assert "belong to --prompt" in capsys.readouterr().err
