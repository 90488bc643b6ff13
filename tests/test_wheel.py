"""The wheel in an environment of its own, without torch and without this checkout: `mlx-cosyvoice speak` speaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests.support.process import ROOT, run_python

SAMPLE = ROOT / "parity" / "data" / "sample.wav"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of an empty environment into which the wheel was installed, dependencies from the package index."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run_python("-c", f"import hatchling.build; print(hatchling.build.build_wheel({str(folder)!r}))")
    assert built.returncode == 0, built.stderr
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    binaries = folder / "venv" / "bin"
    wheel = folder / built.stdout.split()[-1]
    install = [str(binaries / "pip"), "install", "-q", str(wheel), "-c", str(ROOT / "constraints.txt")]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode and "Connection" in done.stderr:
        pytest.skip(f"the package index cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return binaries


def in_it(binaries: Path, cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    name, *rest = command
    return subprocess.run([str(binaries / name), *rest], cwd=cwd, env=clean, capture_output=True, text=True)


@pytest.mark.slow
def test_the_wheel_speaks_without_torch(environment: Path, tiny_model: Path, tmp_path: Path) -> None:
    for package in ("torch", "onnx", "onnxruntime", "transformers"):
        assert in_it(environment, tmp_path, "python", "-c", f"import {package}").returncode != 0
    where = in_it(environment, tmp_path, "python", "-c", "import mlx_cosyvoice; print(mlx_cosyvoice.__file__)")
    assert str(environment.parent) in where.stdout
    done = in_it(
        environment,
        tmp_path,
        *("mlx-cosyvoice", "speak", "We have 3 apples.", "--model", str(tiny_model), "--prompt", str(SAMPLE)),
        *("--transcript", "what is said in it", "--out", "a.wav", "--json"),
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert soundfile.info(tmp_path / "a.wav").duration == pytest.approx(figures["audio_seconds"])
