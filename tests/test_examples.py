"""The scripts in `examples/` run as their README says, on a tiny model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests.support.process import ROOT

EXAMPLES = ROOT / "examples"
SAMPLE = ROOT / "parity" / "data" / "sample.wav"
TRANSCRIPT = SAMPLE.with_suffix(".txt").read_text(encoding="utf-8").strip()
TEXT = "Hi."
PROMPT = (str(SAMPLE), TRANSCRIPT)

#: Script -> what follows MODEL and comes before the output.
ARGUMENTS = {
    "speak.py": (*PROMPT, TEXT),
    "stream.py": (*PROMPT, TEXT),
    "speak_while_writing.py": PROMPT,
    "instruct.py": (str(SAMPLE), "Speak slowly.", TEXT),
    "convert_voice.py": (str(SAMPLE), str(SAMPLE)),
}


def test_every_example_is_tested_and_listed() -> None:
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    assert scripts == set(ARGUMENTS)
    listed = (EXAMPLES / "README.md").read_text()
    assert all(f"`{name} MODEL" in listed for name in scripts)


@pytest.mark.parametrize("script", sorted(ARGUMENTS))
def test_an_example_runs(script: str, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / script), str(tiny_model), *ARGUMENTS[script], str(out)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=f"{TEXT}\n",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert soundfile.info(out).samplerate == 24000
    assert soundfile.info(out).duration > 0.1
