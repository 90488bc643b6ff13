"""`mlx-cosyvoice voices`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from mlx_cosyvoice.cli import main
from mlx_cosyvoice.cli.table import columns, shorten, size, width
from mlx_cosyvoice.voices import Voice, VoiceLibrary
from tests.support.process import ROOT, run_python
from tests.support.voices import assert_same_voice, make_voice, sft_entry, zero_shot_entry

SAMPLE = ROOT / "parity" / "data" / "sample.wav"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VoiceLibrary:
    """The default one, of this test."""
    monkeypatch.setenv("MLX_COSYVOICE_VOICES", str(tmp_path / "voices"))
    monkeypatch.delenv("MLX_COSYVOICE_MODEL", raising=False)
    return VoiceLibrary()


@pytest.fixture
def works(library: VoiceLibrary, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs `mlx-cosyvoice voices ...` and returns what it printed."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        assert main(["voices", *map(str, arguments)]) == 0
        shown = capsys.readouterr()
        assert shown.err == ""
        return shown.out

    return run


@pytest.fixture
def fails(library: VoiceLibrary, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs it, sees it fail in one line with nothing in the library changed, and returns the message."""

    def run(*arguments: object) -> str:
        before = snapshot(library.folder)
        capsys.readouterr()
        assert main(["voices", *map(str, arguments)]) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("mlx-cosyvoice: error: ")
        assert shown.err.count("\n") == 1
        assert snapshot(library.folder) == before
        return shown.err

    return run


def snapshot(folder: Path) -> dict[str, bytes] | None:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else None


def recording(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def speech(seconds: float, rate: int = 16000) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(int(seconds * rate))


@pytest.mark.parametrize("arguments", [[], *([a] for a in ("add", "list", "show", "remove", "export", "import"))])
def test_help(arguments: list[str]) -> None:
    """It is quick, and shows examples where an action has more than a name."""
    code = f"""
import sys
from mlx_cosyvoice.cli import main
try:
    main(["voices", *{arguments}, "--help"])
except SystemExit as stop:
    assert stop.code == 0, stop.code
heavy = {{"mlx", "mlx.core", "numpy", "safetensors", "platformdirs"}} & set(sys.modules)
assert not heavy, heavy
"""
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    assert ("examples:\n  mlx-cosyvoice voices " in result.stdout) == (arguments in ([], ["add"], ["import"]))


def test_an_action_is_needed(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["voices"])
    assert stop.value.code == 2
    assert "required: ACTION" in capsys.readouterr().err


def test_add_list_show_and_remove(works: Callable[..., str], library: VoiceLibrary, tiny_model: Path) -> None:
    out = works("add", "中文 Anna", SAMPLE, "--transcript", "The quick brown fox", "--model", tiny_model)
    assert out == f"added 中文 Anna, 4.4 s: {library.folder / '中文 Anna.safetensors'}\n"
    voice = library.get("中文 Anna")
    assert voice.transcript == "The quick brown fox"
    assert voice.seconds == pytest.approx(soundfile.info(SAMPLE).duration, abs=0.1)

    library.add("ben", make_voice(tokens=0))
    assert works("list").splitlines() == [
        "ben        0.0 s  Hello, 你好.",
        "中文 Anna  4.4 s  The quick brown fox",
        "",
        f"2 in {library.folder}",
    ]
    shown = dict(line.split(maxsplit=1) for line in works("show", "中文 anna").splitlines())
    assert shown["name"] == "中文 Anna"
    assert shown["kind"] == "recording with transcript"
    assert shown["duration"] == "4.36 s (109 speech tokens)"
    assert shown["transcript"] == "The quick brown fox"
    assert shown["fingerprint"] == voice.fingerprint
    assert shown["file"] == str(library.path("中文 Anna"))
    assert shown["size"].endswith(" kB")

    assert works("remove", "中文 anna") == "removed 中文 Anna\n"
    assert library.names() == ["ben"]


def test_add_as_json_with_the_model_of_the_environment(
    works: Callable[..., str], library: VoiceLibrary, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLX_COSYVOICE_MODEL", str(tiny_model))
    other = VoiceLibrary(tmp_path / "other")
    out = works("add", "anna", SAMPLE, "--transcript", "The quick", "--voices", other.folder, "--json")
    voice = other.get("anna")
    assert json.loads(out) == {
        "name": "anna",
        "kind": "recording with transcript",
        "seconds": voice.seconds,
        "speech_tokens": 109,
        "transcript": "The quick",
        "transcript_tokens": None,
        "provenance": dict(voice.provenance),
        "families": ["cosyvoice2"],
        "fingerprint": voice.fingerprint,
        "file": str(other.path("anna")),
        "bytes": other.path("anna").stat().st_size,
    }
    assert not library.folder.exists()


def test_add_without_transcript_warns(library: VoiceLibrary, tiny_model: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["voices", "add", "anna", str(SAMPLE), "--model", str(tiny_model)]) == 0
    shown = capsys.readouterr()
    assert shown.err == (
        "mlx-cosyvoice: warning: without --transcript the voice speaks in modes cross_lingual and instruct2 only, "
        "not in zero_shot\n"
    )
    assert shown.out.startswith("added anna")
    assert library.get("anna").transcript == ""


def test_add_replaces_with_force_only(
    fails: Callable[..., str], works: Callable[..., str], library: VoiceLibrary, tiny_model: Path
) -> None:
    library.add("anna", make_voice())
    add = ("add", "Anna", SAMPLE, "--transcript", "x", "--model", tiny_model)
    assert "the library has 'anna' already; give force=True (--force)" in fails(*add)
    works(*add, "--force")
    assert library.names() == ["anna"]
    assert library.get("anna").transcript == "x"


@pytest.mark.parametrize(("samples", "message"), [
    (speech(0.1), "0.100 s of audio is too short; at least 0.5 s are needed"),
    (np.zeros(32000), "the audio is silent"),
    (np.zeros(0), "the audio file is empty"),
    (speech(31.0), "31.0 s of audio is too long; at most 30 s are allowed"),
    (np.where(np.arange(32000) == 9, np.nan, speech(2.0)), "1 samples are NaN or infinite"),
], ids=["0.1 s", "silence", "empty", "31 s", "NaN"])  # fmt: skip
@pytest.mark.parametrize("force", [[], ["--force"]], ids=["new", "force"])
def test_add_refuses_bad_recordings(
    fails: Callable[..., str], library: VoiceLibrary, tiny_model: Path, tmp_path: Path,
    samples: np.ndarray, message: str, force: list[str],
) -> None:  # fmt: skip
    library.add("anna", make_voice())
    path = recording(tmp_path / "prompt.wav", samples)
    name = "anna" if force else "ben"
    assert f"{path}: {message}" in fails("add", name, path, "--transcript", "x", "--model", tiny_model, *force)


def test_add_refuses_what_is_no_recording(
    fails: Callable[..., str], library: VoiceLibrary, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("text")
    for path, message in ((tmp_path / "text.wav", "cannot be read as audio"), (tmp_path / "no.wav", "no such file")):
        assert message in fails("add", "anna", path, "--transcript", "x", "--model", tiny_model)
    assert not library.folder.exists()


def test_add_takes_eight_channels_at_192_khz(
    works: Callable[..., str], library: VoiceLibrary, tiny_model: Path, tmp_path: Path
) -> None:
    path = recording(tmp_path / "prompt.wav", np.repeat(speech(1.0, 192000)[:, None], 8, axis=1), 192000)
    works("add", "anna", path, "--transcript", "x", "--model", tiny_model)
    assert library.get("anna").seconds == pytest.approx(1.0, abs=0.05)


def test_add_computes_in_the_dtype(works: Callable[..., str], library: VoiceLibrary, tiny_model: Path) -> None:
    for name, dtype in (("usual", "auto"), ("stored", "stored"), ("half", "bfloat16")):
        works("add", name, SAMPLE, "--transcript", "x", "--model", tiny_model, "--dtype", dtype)
    usual, stored, half = (library.get(name).embedding for name in ("usual", "stored", "half"))
    assert np.array_equal(usual, stored)
    assert not np.array_equal(usual, half)


def test_add_refuses_an_unknown_dtype(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["voices", "add", "anna", str(SAMPLE), "--model", ".", "--dtype", "int8"])
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert "argument --dtype: invalid choice: 'int8'" in shown
    assert "bfloat16" in shown


@pytest.mark.parametrize(("model", "message"), [
    (None, "no model: give --model DIR, or set MLX_COSYVOICE_MODEL"),
    ("nowhere/at/all", "nowhere/at/all"),
    (".", "config.json"),
])  # fmt: skip
def test_add_needs_a_model(fails: Callable[..., str], tmp_path: Path, model: str | None, message: str) -> None:
    option = [] if model is None else ["--model", str(tmp_path / model)]
    assert message in fails("add", "anna", SAMPLE, "--transcript", "x", *option)


@pytest.mark.parametrize("arguments", [
    ["add", "../a", str(SAMPLE), "--model", "."], ["add", "../a", str(SAMPLE), "--model", ".", "--force"],
    ["show", "../a"], ["remove", "../a"], ["export", "../a", "x"],
])  # fmt: skip
def test_bad_names(fails: Callable[..., str], arguments: list[str]) -> None:
    assert "'../a' cannot be the name of a voice: it has the character /" in fails(*arguments)


def test_list_of_nothing(works: Callable[..., str], library: VoiceLibrary) -> None:
    assert works("list") == f"no voices in {library.folder}\n"
    assert json.loads(works("list", "--json")) == {"folder": str(library.folder), "voices": []}


def test_list_survives_what_is_broken(works: Callable[..., str], library: VoiceLibrary) -> None:
    library.add("anna", make_voice(transcript="x" * 300))
    library.add("esc", make_voice(transcript="\x1b[2J\nclear"))
    content = library.path("anna").read_bytes()
    (library.folder / "cut.safetensors").write_bytes(content[:-9])
    (library.folder / "alien.safetensors").write_bytes(b"alien")
    (library.folder / "notes.txt").write_bytes(b"")
    lines = works("list").splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["alien", "anna", "cut", "esc"]
    assert "cannot be read: " in lines[0]
    assert "not a safetensors file" in lines[0]
    assert lines[1].endswith("x" * 77 + "...")
    assert "cut off" in lines[2]
    assert lines[3].endswith("0.3 s   [2J clear")
    listed = json.loads(works("list", "--json"))["voices"]
    assert [set(voice) == {"name", "error"} for voice in listed] == [True, False, True, False]
    assert listed[1]["transcript"] == "x" * 300
    assert len(works("show", "esc").splitlines()) == 9


def test_show_says_where_a_voice_is_from(works: Callable[..., str], library: VoiceLibrary) -> None:
    library.add("anna", make_voice(provenance={"source": "a b.wav", "sha256": "0123"}))
    out = works("show", "anna")
    assert "for models of  (not known)\n" in out
    assert "from source    a b.wav\nfrom sha256    0123\n" in out
    assert json.loads(works("show", "anna", "--json"))["provenance"] == {"source": "a b.wav", "sha256": "0123"}


@pytest.mark.parametrize(
    ("changes", "families"),
    [
        ({"families": ("cosyvoice2", "cosyvoice3")}, "CosyVoice2, CosyVoice3"),
        ({"families": ("to\ncome",)}, r"to\ncome"),
        ({"tokens": 0, "families": ("cosyvoice2",)}, "any family"),
    ],
)
def test_show_says_which_models_it_fits(
    works: Callable[..., str], library: VoiceLibrary, changes: dict[str, Any], families: str
) -> None:
    library.add("anna", make_voice(**changes))
    assert f"for models of  {families}\n" in works("show", "anna")


@pytest.mark.parametrize(("changes", "kind"), [
    ({"tokens": 0}, "speaker embedding, for mode sft"),
    ({}, "recording with transcript"),
    ({"transcript": " "}, "recording without transcript, not for mode zero_shot"),
    ({"transcript": "", "prompt_text": (1, 2)}, "recording with transcript, of which only the token ids are known"),
])  # fmt: skip
def test_show_says_what_a_voice_can_do(
    works: Callable[..., str], library: VoiceLibrary, changes: dict[str, Any], kind: str
) -> None:
    library.add("anna", make_voice(**changes))
    assert json.loads(works("show", "anna", "--json"))["kind"] == kind


@pytest.mark.parametrize("action", [["show"], ["remove"], ["export"]])
def test_an_unknown_voice(fails: Callable[..., str], library: VoiceLibrary, tmp_path: Path, action: list[str]) -> None:
    library.add("anna", make_voice())
    target = [str(tmp_path / "x")] if action == ["export"] else []
    assert "Did you mean 'anna'? It has anna" in fails(*action, "ana", *target)
    assert not (tmp_path / "x").exists()


def test_export_and_import(
    works: Callable[..., str], fails: Callable[..., str], library: VoiceLibrary, tmp_path: Path
) -> None:
    voice = make_voice(prompt_text=(1, 2))
    library.add("anna", voice)
    path = tmp_path / "given.safetensors"
    assert works("export", "anna", path) == f"exported anna: {path}\n"
    assert_same_voice(Voice.load(path), voice)
    assert f"{path} exists; give force=True (--force)" in fails("export", "anna", path)
    assert json.loads(works("export", "ANNA", path, "--force", "--json")) == {"exported": "anna", "file": str(path)}

    assert works("import", path) == "added given\n"
    assert works("import", path, "--name", "ben") == "added ben\n"
    assert library.names() == ["anna", "ben", "given"]
    assert library.get("ben").fingerprint == voice.fingerprint
    assert "the library has 'ben' already" in fails("import", path, "--name", "BEN")
    works("import", path, "--name", "BEN", "--force")
    assert library.names() == ["anna", "ben", "given"]
    assert json.loads(works("remove", "given", "--json")) == {
        "removed": "given",
        "file": str(library.folder / "given.safetensors"),
    }


def test_export_over_a_folder_or_into_none(fails: Callable[..., str], library: VoiceLibrary, tmp_path: Path) -> None:
    library.add("anna", make_voice())
    assert "is a folder; give the name of a file" in fails("export", "anna", tmp_path, "--force")
    assert "does not exist" in fails("export", "anna", tmp_path / "nowhere" / "a")


def test_import_official_speakers(
    works: Callable[..., str], fails: Callable[..., str], library: VoiceLibrary, tmp_path: Path
) -> None:
    path = tmp_path / "spk2info.pt"
    torch.save({"中文女": sft_entry(1), "anna": zero_shot_entry(2), "a/b": sft_entry(3)}, path)
    assert "--speaker 'a/b' --name NAME" in fails("import", path)
    assert works("import", path, "--speaker", "a/b", "--name", "ab") == "added ab\n"
    out = json.loads(works("import", path, "--speaker", "中文女", "--speaker", "anna", "--json"))
    assert out["folder"] == str(library.folder)
    assert [voice["name"] for voice in out["voices"]] == ["中文女", "anna"]
    assert [voice["transcript_tokens"] for voice in out["voices"]] == [None, 3]
    assert library.names() == ["ab", "anna", "中文女"]
    assert "has no speaker 'nobody'" in fails("import", path, "--speaker", "nobody")


class Executes:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_import_refuses_bad_files(fails: Callable[..., str], tmp_path: Path) -> None:
    evil, old = tmp_path / "evil.pt", tmp_path / "old.pt"
    torch.save({"anna": {"embedding": Executes(tmp_path / "marker")}}, evil)
    assert "posix.mkdir'; only tensors" in fails("import", evil)
    assert not (tmp_path / "marker").exists()
    torch.save({"anna": sft_entry()}, old, _use_new_zipfile_serialization=False)
    assert "torch.save(torch.load(" in fails("import", old)
    assert "no such file" in fails("import", tmp_path / "nowhere.pt")
    make_voice().save(tmp_path / "whole")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole").read_bytes()[:-5])
    assert "cut.safetensors: cut off" in fails("import", tmp_path / "cut.safetensors")


@pytest.mark.parametrize("arguments", [["voices", "--traceback", "show", "a"], ["voices", "show", "a", "--traceback"]])
def test_traceback(library: VoiceLibrary, arguments: list[str]) -> None:
    with pytest.raises(ValueError, match="no voice 'a'"):
        main(arguments)


def test_columns() -> None:
    assert columns([["a", "中文", "x"], ["bcd", "e", "y\tz"]]) == "a    中文  x\nbcd  e     y z"
    assert width("e\u0301中") == 3
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("ab cdefg", 6) == "ab..."
    assert shorten("中文中文", 7) == "中文..."
    assert [size(count) for count in (0, 999, 1000, 71_400, 2_500_000, 3_000_000_000)] == [
        "0 bytes", "999 bytes", "1.0 kB", "71.4 kB", "2.5 MB", "3.0 GB",
    ]  # fmt: skip
