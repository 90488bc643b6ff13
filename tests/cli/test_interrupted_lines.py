"""KeyboardInterrupt before every line of what brings a stream to its outputs: what the command reports is true."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import mlx_cosyvoice
from mlx_cosyvoice import files, uninterrupted
from mlx_cosyvoice.audio import encoded_file, pcm, player, positioned, raw_file, wav_file, writer
from mlx_cosyvoice.cli import deliver, main, outputs
from tests.support import speaking
from tests.support.interrupting import Lines, interrupted
from tests.support.speaking import CHUNK, RATE, StandIn, tone

MODULES = (deliver, outputs, encoded_file, files, pcm, player, positioned, raw_file, uninterrupted, wav_file, writer)


class Device(speaking.OutputStream):
    def write(self, samples: np.ndarray) -> None:
        pass


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlx_cosyvoice, "load", StandIn.load, raising=False)
    monkeypatch.setattr(StandIn, "calls", [])
    monkeypatch.setattr(StandIn, "streams", [])
    monkeypatch.setenv("MLX_COSYVOICE_MODEL", "the model")
    monkeypatch.setattr(speaking, "OutputStream", Device)
    monkeypatch.setitem(sys.modules, "sounddevice", speaking)


def check(path: Path, status: int, output: str, errors: str) -> None:
    """All that is reported, and that nothing else is left."""
    names = os.listdir(path.parent)
    assert len(names) <= 1
    assert set(names) <= {path.name, f"{path.stem}.partial{path.suffix}"}
    samples, _ = soundfile.read(path.parent / names[0], dtype="float32") if names else (np.zeros(0, np.float32), 0)
    count = len(samples) / CHUNK
    if path.suffix != ".mp3" and names:
        expected = np.concatenate([tone(number) for number in range(round(count))])
        assert np.abs(samples - expected).max() <= 1 / 2**15
    left = re.search(r"interrupted; the first (.*) s are in (.*)", errors)
    if left is not None:
        assert left.groups() == (f"{count * CHUNK / RATE:.1f}", str(path.parent / names[0]))
    if "nothing was written" in errors:
        assert not names
    if output:
        assert json.loads(output)["interrupted"] is ("interrupted;" in errors)
    assert ("interrupted" in errors) is (status == 130)
    if status == 0:
        assert names == [path.name]
        assert count == 3


@pytest.mark.parametrize(
    "arguments", [["speech.wav", "--play"], ["speech.flac"], pytest.param(["speech.mp3"], marks=pytest.mark.slow)]
)
def test_an_interruption_before_every_line(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(folder: Path, place: int | None) -> Lines:
        folder.mkdir()
        path = folder / arguments[0]
        with interrupted(MODULES, place) as lines:
            status = main(["speak", "one two three", "--speaker", "bo", "--json", "--out", str(path), *arguments[1:]])
        shown = capsys.readouterr()
        check(path, status, shown.out, shown.err)
        return lines

    places = run(tmp_path / "whole", None).first_and_last()
    assert len(places) > 100
    for place in places:
        assert run(tmp_path / str(place), place).met
