"""`python -m parity`: bad input gives one line, exit status 2, and no output."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from parity.__main__ import main

RATE = 16000


def _bad_recordings(folder: Path) -> dict[str, Path]:
    (folder / "text.wav").write_text("this is not audio")
    soundfile.write(folder / "empty.wav", np.zeros(0, np.float32), RATE)
    soundfile.write(folder / "silent.wav", np.zeros(RATE, np.float32), RATE)
    soundfile.write(folder / "long.wav", np.sin(np.arange(31 * RATE) / 20).astype(np.float32), RATE)
    return {name: folder / f"{name}.wav" for name in ("text", "empty", "silent", "long", "missing")}


@pytest.mark.parametrize("name", ["text", "empty", "silent", "long", "missing"])
def test_a_bad_recording_stops_the_demo_before_it_writes(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, out = _bad_recordings(tmp_path)[name], tmp_path / "out"
    assert main(["demo", "--checkpoint", "synthetic", "--out", str(out), "--audio", str(recording)]) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert str(recording) in shown.err
    assert not out.exists()


def test_a_missing_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--checkpoint", str(tmp_path / "nothing"), "--model", str(tmp_path)]) == 2
    assert "nothing" in capsys.readouterr().err


def test_the_demo_of_an_unknown_family_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo"), "--family", "cosyvoice4"]) == 2
    assert "there is no such family; there are: cosyvoice2, cosyvoice3" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_an_unknown_stage_is_named_with_those_there_are(
    tiny_checkpoint: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ["--checkpoint", str(tiny_checkpoint), "--model", str(tiny_model)]
    assert main(["run", *pair, "--stages", "vocodr"]) == 2
    message = capsys.readouterr().err
    assert "vocodr" in message
    assert "flow_decoder" in message


def test_json_and_report_hold_what_was_printed(
    tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ["--checkpoint", str(tiny_checkpoint), "--model", str(tiny_model)]
    wanted = ["--stages", "text_tokenizer", "audio_features", "--report", str(tmp_path / "report")]
    assert main(["run", *pair, *wanted, "--json", str(tmp_path / "one.json")]) == 0
    printed = capsys.readouterr().out
    data = json.loads((tmp_path / "one.json").read_text())
    assert data == json.loads((tmp_path / "report" / "parity.json").read_text())
    assert data["schema_version"] == 1
    assert data["verdict"] == "pass"
    audits = ["audit.model", "audit.text_tokenizer"]
    assert list(data["stages"]) == [*audits, "text_tokenizer", "audio_features"]
    row = data["stages"]["audio_features"]["outputs"]["log_mel"]
    assert {"max_abs", "relative_rms", "snr_db", "cosine", "nonfinite", "mean", "std", "error", "floor"} <= row.keys()
    assert "log_mel" in printed
    assert "verdict: PASS" in printed
    assert (tmp_path / "report" / "report.html").stat().st_size > 1000
