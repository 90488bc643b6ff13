"""What the demo converts, what it says by which voice, and what it prints of what was heard."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import soundfile

import parity.run
from parity.__main__ import main
from parity.commands import demo
from parity.inputs import DEFAULT_TEXT, SAMPLE
from reference.nano.words import is_held_out


def _arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo.add_parser(parser.add_subparsers())
    return parser.parse_args(["demo", *words])


def _plan(*words: str) -> tuple[Path, demo.Plan]:
    arguments = _arguments(*words)
    source, _ = demo._source(arguments)
    return source, demo._plan(arguments, source)


def test_the_trained_checkpoint_clones_its_own_recording() -> None:
    source, plan = _plan()
    assert source == demo.NANO
    assert plan.recording == demo.NANO / "prompts/awb-1.06.flac"
    assert plan.inputs["transcript"] == "seven seven two nine six"
    assert plan.text == plan.inputs["text"] == demo.DIGITS


def test_it_says_what_training_never_saw() -> None:
    assert is_held_out(demo.DIGITS.split())


@pytest.mark.parametrize("words", [["--checkpoint", "synthetic"], ["--family", "cosyvoice3"]])
def test_random_weights_are_asked_for_by_name(words: list[str], tmp_path: Path) -> None:
    source, plan = _plan("--out", str(tmp_path), *words)
    assert source == tmp_path / "checkpoint"
    assert (plan.recording, plan.inputs["text"]) == (SAMPLE, DEFAULT_TEXT)


@pytest.mark.parametrize("checkpoint", ["synthetic", str(demo.NANO)])
def test_it_writes_and_prints_what_it_promises(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = partial(parity.run.run, stages=["text_tokenizer"])
    with mock.patch.object(parity.run, "run", few):
        assert main(["demo", "--checkpoint", checkpoint, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    names = {"model", "parity.json", "report.html", "speech.wav", "speech-streaming.wav"}
    if checkpoint == "synthetic":
        assert {path.name for path in tmp_path.iterdir()} == {*names, "checkpoint"}
        assert printed.count("random weights, so it is noise") == 2
        assert "not listened to: random weights say nothing" in printed
        assert "heard:" not in printed
    else:
        assert {path.name for path in tmp_path.iterdir()} == names
        assert printed.count("heard:   ") == 2
        assert f"spoken by both, same tokens and noise: {demo.DIGITS}" in printed
        assert "random weights" not in printed


def test_a_recording_takes_the_place_of_the_checkpoints_own() -> None:
    _, plan = _plan("--audio", str(SAMPLE), "--transcript", "Hello.")
    assert (plan.recording, plan.inputs["transcript"], plan.text) == (SAMPLE, "Hello.", demo.DIGITS)


def test_a_family_and_a_checkpoint_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--checkpoint", str(demo.NANO), "--family", "cosyvoice3"]) == 2
    assert "--family is of the synthetic checkpoint" in capsys.readouterr().err


def test_a_missing_checkpoint_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with mock.patch.object(demo, "NANO", tmp_path / "assets/nano"):
        assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert f"{tmp_path / 'assets/nano'}: not there" in shown.err
    assert "--checkpoint synthetic" in shown.err
    assert not (tmp_path / "demo").exists()


def test_what_was_heard_is_printed_beside_what_was_said() -> None:
    pytest.importorskip("pocketsphinx", reason="NOT CHECKED by ear: pocketsphinx is not installed")
    wave, rate = soundfile.read(demo.NANO / "prompts" / demo.VOICE, dtype="float32")
    assert demo._heard("one two", wave, rate) == "heard:   seven seven two nine six (said: one two)"
    assert demo._heard("one two", 0 * wave, rate) == "heard:   nothing (said: one two)"
    assert demo._heard("Hello from MLX.", wave, rate) == ""


def test_without_a_recogniser_the_demo_says_so() -> None:
    wave, rate = soundfile.read(demo.NANO / "prompts" / demo.VOICE, dtype="float32")
    with mock.patch.dict(sys.modules, {"pocketsphinx": None}):
        heard = demo._heard("one two", wave, rate)
    assert "\n" not in heard
    assert "pip install" in heard
