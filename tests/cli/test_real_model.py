"""The commands on a converted model: every mode, and what the user sees when something is wrong with it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_cosyvoice import CosyVoice2, weights
from mlx_cosyvoice.cli import main
from mlx_cosyvoice.cli.options import DTYPES
from mlx_cosyvoice.loading import AUTO
from mlx_cosyvoice.voices import VoiceLibrary
from tests.support.process import ROOT, run_python
from tests.support.speaking import wait_for

DATA = ROOT / "parity" / "data"
PROMPT = str(DATA / "sample.wav")
TRANSCRIPT = (DATA / "sample.txt").read_text(encoding="utf-8").strip()
#: Short speech, so that the tests are fast.
SHORT = ["--steps", "2", "--max-token-text-ratio", "3"]

Speak = Callable[..., tuple[np.ndarray, dict]]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path) -> None:
    monkeypatch.setenv("MLX_COSYVOICE_MODEL", str(tiny_model))
    monkeypatch.setenv("MLX_COSYVOICE_VOICES", str(tmp_path / "voices"))


@pytest.fixture
def speak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Speak:
    """Runs a command with --out and --json. Returns samples and figures, which must agree."""

    def run(*arguments: str) -> tuple[np.ndarray, dict]:
        out = tmp_path / "speech.wav"
        began = time.perf_counter()
        status = main([*arguments, "--out", str(out), "--subtype", "float", "--force", "--json"])
        took = time.perf_counter() - began
        shown = capsys.readouterr()
        assert status == 0, shown.err
        figures = json.loads(shown.out)
        samples, rate = soundfile.read(out, dtype="float32")
        assert rate == figures["sample_rate"] == 24000
        assert figures["audio_seconds"] == pytest.approx(len(samples) / rate)
        assert 0 < figures["first_chunk_seconds"] <= figures["seconds"] < took
        return samples, figures

    return run


def test_every_mode_gives_what_the_python_api_gives(speak: Speak, tiny_model: Path) -> None:
    model = CosyVoice2.load(tiny_model)
    voice = model.clone(PROMPT, TRANSCRIPT)
    prompt = ["--prompt", PROMPT]
    runs = {
        "zero_shot": (["--transcript", TRANSCRIPT], voice, {}),
        "cross_lingual": ([], model.clone(PROMPT), {}),
        "instruct2": (["--transcript", TRANSCRIPT, "--instruct", "Softly."], voice, {"instruction": "Softly."}),
    }
    heard = {}
    for mode, (arguments, whose, options) in runs.items():
        heard[mode], _ = speak("speak", "Say 12.", *prompt, *arguments, "--mode", mode, "--seed", "5", *SHORT)
        expected = model.synthesize("Say 12.", whose, seed=5, n_timesteps=2, max_token_text_ratio=3, **options)
        assert np.array_equal(heard[mode], expected), mode
    heard["sft"], _ = speak("speak", "Say 12.", "--speaker", "synthetic", "--seed", "5", *SHORT)
    heard["normalize"], _ = speak("speak", "Say 12.", *prompt, "--no-normalize", "--seed", "5", *SHORT)
    heard["seed"], _ = speak("speak", "Say 12.", *prompt, "--seed", "6", *SHORT)
    heard["convert"], _ = speak("convert-voice", PROMPT, *prompt, "--steps", "2")
    assert len({samples.tobytes() for samples in heard.values()}) == len(heard)


def test_speed_and_decoding(speak: Speak) -> None:
    arguments = ["speak", "Say what.", "--prompt", PROMPT, *SHORT]
    usual, figures = speak(*arguments)
    fast, _ = speak(*arguments, "--speed", "2")
    assert figures["chunks"] == figures["segments"] == 1
    assert len(fast) == len(usual) / 2
    longer = ["speak", "Say what it was, and say it well.", *arguments[2:-1], "9", "--min-token-text-ratio", "7"]
    usual, _ = speak(*longer)
    streamed, figures = speak(*longer, "--decoding", "official")
    assert figures["chunks"] > figures["segments"] == 1
    assert len(streamed) == len(usual)
    assert not np.array_equal(streamed, usual)


def test_the_dtype_to_compute_in(speak: Speak, tiny_model: Path) -> None:
    model = CosyVoice2.load(tiny_model, dtype="bfloat16")
    options = {"n_timesteps": 2, "max_token_text_ratio": 3}
    usual, _ = speak("speak", "One.", "--speaker", "synthetic", *SHORT)
    stored, _ = speak("speak", "One.", "--speaker", "synthetic", *SHORT, "--dtype", "stored")
    half, _ = speak("speak", "One.", "--speaker", "synthetic", *SHORT, "--dtype", "bfloat16")
    assert np.array_equal(stored, usual)
    assert np.array_equal(half, model.synthesize("One.", "synthetic", **options))
    assert not np.array_equal(half, usual)


def test_dtypes_of_the_command_are_those_of_the_library() -> None:
    assert (AUTO, *weights.DTYPES, "stored") == DTYPES


def test_a_voice_of_the_library(speak: Speak, tiny_model: Path) -> None:
    VoiceLibrary().add("anna", CosyVoice2.load(tiny_model).clone(PROMPT, TRANSCRIPT))
    saved, _ = speak("speak", "Hello.", "--voice", "anna", *SHORT)
    fresh, _ = speak("speak", "Hello.", "--prompt", PROMPT, "--transcript", TRANSCRIPT, *SHORT)
    assert np.array_equal(saved, fresh)


@pytest.mark.parametrize(("arguments", "message"), [
    (["", "--prompt", PROMPT], "nothing to say: the text is empty"),
    (["?! ...", "--prompt", PROMPT], "nothing to say: the text has no letter or digit"),
    (["One.", "--prompt", PROMPT, "--mode", "zero_shot"], "needs the transcript"),
    (["One.", "--prompt", PROMPT, "--mode", "instruct2"], "needs an instruction"),
    (["One.", "--prompt", PROMPT, "--speed", "2", "--decoding", "official"], "speed is 2.0"),
    (["One.", "--prompt", PROMPT, "--speed", "0"], "speed"), (["One.", "--prompt", PROMPT, "--steps", "0"], "steps"),
    (["One.", "--prompt", PROMPT, "--seed", "-1"], "seed is -1"),
    (["One.", "--prompt", PROMPT, "--max-token-text-ratio", "1"], "min_token_text_ratio"),
    (["One.", "--voice", "zoe"], "no voice 'zoe'"), (["One.", "--speaker", "zoe"], "it has "),
    (["One.", "--prompt", PROMPT, "--model", "/no/where"], "/no/where: no such folder"),
    (["One.", "--prompt", PROMPT, "--model", str(DATA)], "config.json: no such file"),
])  # fmt: skip
def test_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(["speak", *arguments, "--out", str(tmp_path / "a.wav")]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("mlx-cosyvoice: error: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert not list(tmp_path.glob("a.*"))


def test_broken_models(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)

    def complaint() -> str:
        arguments = ["--model", str(folder), "--prompt", PROMPT, "--out", str(tmp_path / "a.wav")]
        assert main(["speak", "One.", *arguments]) == 1
        assert not list(tmp_path.glob("a.*"))
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"format_version": 99}))
    assert "format_version 99 is newer than" in complaint()
    (folder / "config.json").write_text(json.dumps(config))
    weights = folder / "model.safetensors"
    with weights.open("rb+") as file:
        file.truncate(weights.stat().st_size // 2)
    assert "model.safetensors: cut off: it has " in complaint()


def start(*arguments: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-m", "mlx_cosyvoice", *arguments], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe
    )


def test_ctrl_c_in_a_long_text_keeps_what_was_spoken(tmp_path: Path) -> None:
    """With the language model at work on its thread, in the midst of the second segment or later."""
    text = tmp_path / "text.txt"
    text.write_text("This is a sentence that is neither short nor long, and so are all the others here. " * 50)
    out = tmp_path / "speech.wav"
    process = start("speak", "--file", str(text), "--prompt", PROMPT, "--out", str(out), *SHORT)
    wait_for(tmp_path / "speech.partial.wav", 20_000, seconds=120)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, b"")
    interrupted, _ = errors.decode().splitlines()
    assert interrupted.startswith("mlx-cosyvoice: interrupted; the first ")
    assert sorted(os.listdir(tmp_path)) == ["speech.wav", "text.txt"]
    samples, _ = soundfile.read(out)
    assert len(samples) >= 9_000
    assert f"the first {len(samples) / 24000:.1f} s" in interrupted


def peak_bytes(tmp_path: Path, words: int) -> int:
    """Peak memory of a process that speaks a text of so many words to a file."""
    text = tmp_path / f"{words}.txt"
    text.write_text("This is a sentence of ten words, as they all are. " * (words // 10))
    code = (
        "import resource, sys; from mlx_cosyvoice.cli import main; status = main(); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(status)"
    )
    arguments = ["--prompt", PROMPT, "--out", str(tmp_path / f"{words}.wav"), "--steps", "1", "--quiet"]
    ratio = ["--max-token-text-ratio", "4", "--min-token-text-ratio", "4"]
    result = run_python("-c", code, "speak", "--file", str(text), *arguments, *ratio, timeout=900)
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    short, long = peak_bytes(tmp_path, 120), peak_bytes(tmp_path, 1200)
    assert soundfile.info(tmp_path / "1200.wav").frames > 8 * soundfile.info(tmp_path / "120.wav").frames
    assert long <= 1.15 * short, (short, long)


def test_text_that_arrives_is_heard_before_it_ends() -> None:
    """And Ctrl-C ends the wait for more."""
    process = start("speak", "-", "--prompt", PROMPT, "--out", "-", "--steps", "2")
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for letter in "It was a bright cold day in April, and the clocks were striking thirteen. " * 3:
            process.stdin.write(letter.encode())
            process.stdin.flush()
        assert len(process.stdout.read(9_600)) == 9_600
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        _, errors = process.communicate(timeout=60)
        assert b"interrupted" in errors
        assert b"Traceback" not in errors
        assert b"Fatal" not in errors
    finally:
        process.kill()
