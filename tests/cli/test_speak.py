"""`mlx-cosyvoice speak` and `convert-voice` up to the model, for which a stand-in is used."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import mlx_cosyvoice
from mlx_cosyvoice.audio import player
from mlx_cosyvoice.cli import main, prepare
from mlx_cosyvoice.cli.progress import Progress
from mlx_cosyvoice.voices import VoiceLibrary
from tests.support import speaking
from tests.support.process import ROOT, run_python
from tests.support.speaking import CHUNK, RATE, StandIn, start, tone, voice

PROMPT = str(ROOT / "parity" / "data" / "sample.wav")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mlx_cosyvoice, "load", StandIn.load, raising=False)
    monkeypatch.setattr(StandIn, "calls", [])
    monkeypatch.setattr(StandIn, "streams", [])
    monkeypatch.setenv("MLX_COSYVOICE_MODEL", "the model")
    monkeypatch.setenv("MLX_COSYVOICE_VOICES", str(tmp_path / "voices"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "speech.wav"


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str], out: Path) -> Callable[..., str]:
    """Runs a command that must end with one line of complaint, before the model is loaded, and with no file."""

    def run(*arguments: str, loads: bool = False) -> str:
        before = sorted(os.listdir(out.parent))
        assert main(list(arguments)) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("mlx-cosyvoice: error: ")
        assert shown.err.count("\n") == 1
        assert bool(StandIn.calls) == loads
        assert sorted(os.listdir(out.parent)) == before
        return shown.err

    return run


def called(name: str) -> dict[str, Any]:
    (options,) = (options for called, options in StandIn.calls if called == name)
    return options


def samples(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0]


def test_writes_what_the_stream_gives(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speak", "one two three", "--prompt", PROMPT, "--transcript", "What is said.", "--out", str(out)]) == 0
    assert np.abs(samples(out) - np.concatenate([tone(0), tone(1), tone(2)])).max() <= 0.5 / 2**15
    assert os.listdir(out.parent) == ["speech.wav"]
    assert called("load") == {"path": "the model", "dtype": "auto"}
    assert called("clone") == {"recording": PROMPT, "transcript": "What is said.", "start": 0.0, "end": None}
    options = called("stream")
    options.pop("voice")
    assert options == {
        "text": "one two three",
        "mode": None,
        "instruction": None,
        "decoding": "offline",
        "speed": 1.0,
        "seed": 0,
        "normalize": "spoken",
        "n_timesteps": 10,
        "min_token_text_ratio": 2,
        "max_token_text_ratio": 20,
    }
    assert StandIn.streams[0].closed
    shown = capsys.readouterr()
    assert shown.out == ""
    figures = r"0\.3 s of speech in \d+\.\d s \(real-time factor \d+\.\d\d\), first chunk after \d+\.\d\d s\n"
    assert re.fullmatch(re.escape(f"{out}: ") + figures, shown.err)


def test_every_option_reaches_the_model(out: Path) -> None:
    arguments = (  # noqa: SIM905
        "--model there --dtype bfloat16 --speaker lin --instruct softly --mode instruct2 --decoding official "
        "--speed 1.5 --seed 7 --steps 5 --no-normalize --min-token-text-ratio 3 --max-token-text-ratio 9.5"
    ).split()
    assert main(["speak", "one", *arguments, "--out", str(out)]) == 0
    assert called("load") == {"path": "there", "dtype": "bfloat16"}
    assert called("stream") == {
        "text": "one",
        "voice": StandIn.speakers["lin"],
        "mode": "instruct2",
        "instruction": "softly",
        "decoding": "official",
        "speed": 1.5,
        "seed": 7,
        "normalize": "off",
        "n_timesteps": 5,
        "min_token_text_ratio": 3.0,
        "max_token_text_ratio": 9.5,
    }


@pytest.mark.parametrize(("option", "mode"), [
    ([], "spoken"), (["--normalize", "upstream"], "upstream"), (["--normalize", "off"], "off"),
    (["--no-normalize"], "off"),
])  # fmt: skip
def test_ways_of_normalizing(out: Path, option: list[str], mode: str) -> None:
    assert main(["speak", "one", "--prompt", PROMPT, "--transcript", "What is said.", *option, "--out", str(out)]) == 0
    assert called("stream")["normalize"] == mode


def test_a_voice_of_the_library_or_of_a_file(out: Path, tmp_path: Path) -> None:
    VoiceLibrary().add("anna", voice(transcript="I am Anna."))
    VoiceLibrary(tmp_path / "others").add("bea", voice(transcript="I am Bea."))
    voice(transcript="I am a file.").save(tmp_path / "carl.safetensors")
    for arguments, transcript in (
        (["--voice", "anna"], "I am Anna."),
        (["--voice", "bea", "--voices", str(tmp_path / "others")], "I am Bea."),
        (["--voice", str(tmp_path / "carl.safetensors")], "I am a file."),
    ):
        StandIn.calls.clear()
        assert main(["speak", "one", *arguments, "--out", str(out), "--force"]) == 0
        assert called("stream")["voice"].transcript == transcript


def test_a_prompt_without_transcript(out: Path) -> None:
    assert main(["speak", "one", "--prompt", PROMPT, "--out", str(out)]) == 0
    assert called("clone")["transcript"] == ""


def test_text_from_a_file(out: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes("\ufeff你好 wörld\n".encode())
    assert main(["speak", "--file", str(tmp_path / "text.txt"), "--speaker", "bo", "--out", str(out)]) == 0
    assert called("stream")["text"] == "你好 wörld\n"


@pytest.mark.parametrize(("name", "arguments", "format", "subtype"), [
    ("a.flac", [], "FLAC", "PCM_16"), ("a.mp3", [], "MP3", "MPEG_LAYER_III"), ("a.opus", [], "OGG", "OPUS"),
    ("a.ogg", ["--subtype", "opus"], "OGG", "OPUS"), ("a.wav", ["--subtype", "float"], "WAV", "FLOAT"),
    ("a.xyz", ["--format", "ogg"], "OGG", "VORBIS"),
])  # fmt: skip
def test_formats(out: Path, name: str, arguments: list[str], format: str, subtype: str) -> None:
    path = out.with_name(name)
    assert main(["speak", "one two", "--speaker", "bo", "--out", str(path), *arguments]) == 0
    info = soundfile.info(path)
    assert (info.format, info.subtype, info.frames) == (format, subtype, 2 * CHUNK)


@pytest.mark.parametrize(("arguments", "decoding"), [
    (["one", "--out", "FILE"], "offline"), (["one", "--out", "FILE", "--play"], "official"),
    (["one", "--play"], "official"), (["one", "--play", "--speed", "1.5"], "offline"),
    (["one", "--play", "--decoding", "offline"], "offline"), (["-", "--out", "FILE"], "official"),
    (["-", "--out", "FILE", "--decoding", "offline"], "offline"),
    (["one", "--out", "FILE", "--decoding", "official"], "official"), (["one", "--out", "-"], "official"),
])  # fmt: skip
def test_the_decoding_that_fits(
    out: Path, loudspeaker: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, arguments: list[str], decoding: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one")))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    assert main(["speak", "--speaker", "bo", *(str(out) if word == "FILE" else word for word in arguments)]) == 0
    assert called("stream")["decoding"] == decoding


@pytest.fixture
def loudspeaker(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What is heard."""
    heard: list[np.ndarray] = []

    class Sounddevice:
        PortAudioError = RuntimeError

        class OutputStream:
            def __init__(self, **_: Any) -> None:
                pass

            def write(self, chunk: np.ndarray) -> None:
                heard.append(chunk[:, 0])

            def start(self) -> None:
                pass

            stop = abort = close = start

    monkeypatch.setattr(player, "find_sounddevice", lambda: Sounddevice)
    return heard


def test_plays_and_writes(out: Path, loudspeaker: list[np.ndarray]) -> None:
    assert main(["speak", "one two", "--speaker", "bo", "--play", "--out", str(out)]) == 0
    assert np.array_equal(np.concatenate(loudspeaker), np.concatenate([tone(0), tone(1)]))
    assert len(samples(out)) == 2 * CHUNK


def test_play_without_sounddevice(fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert "pip install 'mlx-cosyvoice[play]'" in fails("speak", "one", "--speaker", "bo", "--play")


def test_a_file_that_cannot_be_begun_leaves_the_loudspeaker_alone(out: Path, loudspeaker: list[np.ndarray]) -> None:
    arguments = ["speak", "one", "--speaker", "bo", "--play", "--out", str(out.with_name("a" * 252 + ".wav"))]
    assert main(arguments) == 1
    assert loudspeaker == []


def test_raw_audio_on_standard_output() -> None:
    process = start("speak", "one two", "--speaker", "bo", "--out", "-", "--json")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output == np.rint(np.concatenate([tone(0), tone(1)]) * 2**15).astype("<i2").tobytes()
    assert json.loads(errors)["audio_seconds"] == 0.2


def test_a_reader_that_goes_away_ends_it() -> None:
    process = start("speak", "a " * 50_000, "--speaker", "bo", "--out", "-")
    assert process.stdout is not None
    assert len(process.stdout.read(1000)) == 1000
    process.stdout.close()
    assert process.stderr is not None
    assert (process.wait(timeout=60), process.stderr.read()) == (0, b"")
    process.stderr.close()


def test_standard_input_is_spoken_while_it_arrives() -> None:
    """Each letter when it is there: audio of the first comes out before the last goes in, whatever its bytes."""
    process = start("speak", "-", "--speaker", "bo", "--out", "-", "--quiet", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    watchdog = threading.Timer(60, process.kill)  # where audio does not come, reading it would wait for ever
    watchdog.start()
    for number, letter in enumerate("Hé,你好."):
        for byte in letter.encode():
            process.stdin.write(bytes([byte]))
            process.stdin.flush()
        chunk = process.stdout.read(2 * CHUNK)
        assert np.array_equal(np.frombuffer(chunk, "<i2"), np.rint(tone(number) * 2**15))
    process.stdin.close()
    assert process.stdout.read() == b""
    watchdog.cancel()
    assert process.wait(timeout=60) == 0
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize(("content", "message"), [
    (b"", "nothing to say: standard input holds no text"), (b" \n\n", "nothing to say: standard input holds no text"),
    (b"\xe9caf", "standard input is not UTF-8 text"),
])  # fmt: skip
def test_bad_standard_input(
    fails: Callable[..., str], out: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert message in fails("speak", "-", "--speaker", "bo", "--out", str(out), loads=True)


def test_bad_arguments_are_found_before_the_model_is_loaded(
    fails: Callable[..., str], out: Path, tmp_path: Path
) -> None:
    def complaint(*arguments: str) -> str:
        return fails("speak", *arguments)

    end = ("--speaker", "bo", "--out", str(out))
    assert "nothing to say: the text is empty" in complaint("", *end)
    assert "nothing to say: the text is empty" in complaint(" \n", *end)
    assert "nothing to say: the text has no letter or digit" in complaint("?!... 。", *end)
    assert "give either TEXT, or - for standard input, or --file FILE" in complaint(*end)
    assert "give either TEXT" in complaint("one", "--file", "a.txt", *end)
    assert f"{tmp_path}/none.txt: No such file or directory" in complaint("--file", f"{tmp_path}/none.txt", *end)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    assert "latin.txt: not UTF-8 text" in complaint("--file", f"{tmp_path}/latin.txt", *end)
    assert "no voice 'zoe'" in complaint("one", "--voice", "zoe", "--out", str(out))
    assert "none.wav: no such file" in complaint("one", "--prompt", f"{tmp_path}/none.wav", "--out", str(out))
    assert "--transcript belongs to --prompt" in complaint("one", "--transcript", "one", *end)
    assert "give --out FILE, --out - or --play" in complaint("one", "--speaker", "bo")
    assert "the extension '.doc' is not known; use one of .wav" in complaint("one", *end[:3], "speech.doc")
    assert "subtype 'vorbis' is not one of wav" in complaint("one", *end, "--subtype", "vorbis")
    assert "format 'aac' is not known" in complaint("one", *end, "--format", "aac")
    assert "the folder /no/where does not exist" in complaint("one", *end[:3], "/no/where/a.wav")
    out.write_bytes(b"precious")
    assert "speech.wav exists; give force=True (--force) to replace it" in complaint("one", *end)
    assert out.read_bytes() == b"precious"


def test_no_model(fails: Callable[..., str], out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLX_COSYVOICE_MODEL")
    message = fails("speak", "one", "--speaker", "bo", "--out", str(out))
    assert "no model: give --model DIR, or set MLX_COSYVOICE_MODEL" in message


def test_unknown_speaker(fails: Callable[..., str], out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = fails("speak", "one", "--speaker", "zoe", "--out", str(out), loads=True)
    assert "the model has no speaker 'zoe': it has bo, lin" in message
    monkeypatch.setattr(StandIn, "speakers", {})
    message = fails("speak", "one", "--speaker", "zoe", "--out", str(out), loads=True)
    assert "it has none; use --prompt or --voice" in message


@pytest.mark.parametrize("arguments", [
    [], ["--voice", "a", "--prompt", "b.wav"], ["--speaker", "a", "--voice", "b"], ["--speaker", "a", "--mode", "sing"],
    ["--speaker", "a", "--decoding", "never"], ["--speaker", "a", "--seed", "x"],
    ["--speaker", "a", "--dtype", "int8"],
])  # fmt: skip
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["speak", "one", *arguments])
    assert stop.value.code == 2
    assert "usage: mlx-cosyvoice speak" in capsys.readouterr().err


def test_force_replaces_at_the_end_only(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out.write_bytes(b"precious")
    monkeypatch.setattr(StandIn, "chunks", [ValueError("the model failed")])
    arguments = ["speak", "one", "--speaker", "bo", "--out", str(out), "--force"]
    assert main(arguments) == 1
    assert out.read_bytes() == b"precious"
    monkeypatch.setattr(StandIn, "chunks", None)
    assert main(arguments) == 0
    assert len(samples(out)) == CHUNK
    assert os.listdir(out.parent) == [out.name]


def test_an_error_half_way_tells_where_the_audio_is(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(StandIn, "chunks", [tone(0), tone(1), ValueError("the model\nfailed")])
    assert main(["speak", "one", "--speaker", "bo", "--out", str(out)]) == 1
    partial = out.with_name("speech.partial.wav")
    assert capsys.readouterr().err == (f"mlx-cosyvoice: error: the model failed; 0.2 s of speech are in {partial}\n")
    assert os.listdir(out.parent) == [partial.name]
    assert len(samples(partial)) == 2 * CHUNK
    assert StandIn.streams[0].closed


def test_samples_that_are_not_numbers(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(StandIn, "chunks", [np.full(CHUNK, np.nan, np.float32)])
    assert main(["speak", "one", "--speaker", "bo", "--out", str(out)]) == 1
    assert "speech.wav: 2400 samples are NaN or infinite" in capsys.readouterr().err
    assert os.listdir(out.parent) == []


def test_a_full_disk(out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(descriptor: int, data: memoryview, position: int) -> int:
        if position + len(data) > 10_000:
            raise OSError(28, "No space left on device")
        return real(descriptor, data, position)

    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", full)
    assert main(["speak", "one two three", "--speaker", "bo", "--out", str(out)]) == 1
    partial = out.with_name("speech.partial.wav")
    assert capsys.readouterr().err == (
        f"mlx-cosyvoice: error: {partial}: No space left on device; 0.2 s of speech are in {partial}\n"
    )
    assert len(samples(partial)) == 2 * CHUNK


def test_clipping_is_told(out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(StandIn, "chunks", [np.array([0.0, 1.5, -3.0], np.float32)])
    assert main(["speak", "one", "--speaker", "bo", "--out", str(out), "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "mlx-cosyvoice: warning: 2 samples were too loud and were clipped\n"
    assert json.loads(shown.out)["clipped_samples"] == 2


class Clock:
    """Goes on only where something sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_figures_agree_with_what_a_caller_measures(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(speaking, "time", clock)
    monkeypatch.setattr(prepare, "time", clock)
    monkeypatch.setenv("STAND_IN_WAIT", "0.2")
    assert main(["speak", "one two three four five", "--speaker", "bo", "--out", str(out), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert clock.now == pytest.approx(1001.0)
    assert figures["seconds"] == pytest.approx(1.0)
    assert figures["load_seconds"] == 0
    assert figures["first_chunk_seconds"] == pytest.approx(0.2)
    assert figures["audio_seconds"] == pytest.approx(len(samples(out)) / RATE)
    assert figures["real_time_factor"] == pytest.approx(figures["seconds"] / figures["audio_seconds"])
    expected = {
        "out": str(out), "sample_rate": RATE, "decoding": "offline", "interrupted": False, "clipped_samples": 0,
        "chunks": 5, "segments": 1, "speech_tokens": 7, "prompt_positions": 3, "prompt_positions_reused": 2,
    }  # fmt: skip
    assert figures.items() >= expected.items()


def test_quiet(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speak", "one", "--speaker", "bo", "--out", str(out), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main(["speak", "one two", "--speaker", "bo", "--out", str(out)]) == 0
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined,union-attr]
    assert re.search(r"\rsegment 2, 0\.2 s of speech in \d+\.\d s \(real-time factor \d+\.\d\d\)", shown)
    *_, cleared, last, end = shown.replace("\n", "\r").split("\r")
    assert cleared.strip() == ""
    assert len(cleared) >= 40
    assert last.startswith(f"{out}: 0.2 s of speech")
    assert end == ""
    assert shown.count("\n") == 1


def test_progress_covers_what_was_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress(quiet=False)
    progress.show("a long line")
    progress.show("short")
    progress.clear()
    progress.clear()
    assert sys.stderr.getvalue() == "\ra long line\rshort      \r     \r"  # type: ignore[attr-defined,union-attr]


def test_convert_voice(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    VoiceLibrary().add("anna", voice())
    arguments = ["--speed", "1.2", "--seed", "3", "--steps", "4", "--dtype", "stored", "--json"]
    assert main(["convert-voice", PROMPT, "--voice", "anna", "--out", str(out), *arguments]) == 0
    assert called("load") == {"path": "the model", "dtype": None}
    options = called("convert_voice")
    options.pop("voice")
    assert (options.pop("start"), options.pop("end")) == (0.0, None)
    assert options == {"source": PROMPT, "decoding": "offline", "speed": 1.2, "seed": 3, "n_timesteps": 4}
    assert len(samples(out)) == 2 * CHUNK
    assert json.loads(capsys.readouterr().out)["audio_seconds"] == 0.2


def test_convert_voice_of_a_bad_recording(fails: Callable[..., str], out: Path, tmp_path: Path) -> None:
    path = tmp_path / "source.wav"
    for content, message in (
        (None, "source.wav: no such file"),
        (np.zeros(RATE), "source.wav: the audio is silent"),
        (np.full(31 * RATE, 0.1), "source.wav: the audio is silent (a constant offset of 0.1"),
    ):
        if content is not None:
            soundfile.write(path, content, RATE)
        assert message in fails("convert-voice", str(path), "--prompt", PROMPT, "--out", str(out))
    assert "none.wav: no such file" in fails(
        "convert-voice", PROMPT, "--prompt", str(tmp_path / "none.wav"), "--out", str(out)
    )


@pytest.mark.parametrize("arguments", [["--help"], ["speak", "--help"], ["convert-voice", "--help"]])
def test_help_comes_at_once_and_tells_what_exists(arguments: list[str]) -> None:
    code = f"""
import sys, time
from mlx_cosyvoice.cli import main, prepare
try:
    main({arguments})
except SystemExit as stop:
    assert stop.code == 0, stop.code
assert not {{"mlx.core", "numpy", "soundfile", "importlib.metadata"}} & set(sys.modules)
print(time.process_time(), file=sys.stderr)
"""
    result = run_python("-c", code)
    assert result.returncode == 0
    assert float(result.stderr) < 0.6  # of the processor; 0.1 on an idle machine
    if len(arguments) > 1:
        assert "examples:\n  mlx-cosyvoice" in result.stdout
        for name in ("wav", "flac", "ogg", "opus", "mp3", "raw", "pcm16", "pcm24", "float", "vorbis"):
            assert name in result.stdout
