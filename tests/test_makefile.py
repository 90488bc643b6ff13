"""The Makefile: what it would run, when it renews .venv, and what it says when Python will not do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.process import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with a space in its name that has the Makefile, and a .venv which looks complete."""
    folder = tmp_path / "a checkout"
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv/bin/python").touch(mode=0o755)
    (folder / ".venv/.complete").touch()
    age(folder / "pyproject.toml", 100)
    age(folder / "constraints.txt", 100)
    return folder


def age(path: Path, seconds: float) -> None:
    changed = path.stat().st_mtime - seconds
    os.utime(path, (changed, changed))


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "MFLAGS"}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def plan(folder: Path, *arguments: str) -> str:
    result = make(folder, "-n", *arguments)
    assert result.returncode == 0, result.stderr
    return " ".join(result.stdout.replace("\\\n", " ").split())


def fake_python(folder: Path, body: str) -> Path:
    path = folder / "fake python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["test"], ".venv/bin/python -m pytest -n auto --dist loadfile"),
        (["bench"], ".venv/bin/python -m parity bench --size full --json build/bench/bench.json"),
        (["bench", "CHECKPOINT=a", "MODEL=b c"], '--size full --checkpoint "a" --model "b c" --json'),
        (["bench", "FAMILY=cosyvoice3"], '-m parity bench --size full --family "cosyvoice3" --json'),
        (["test-slow"], '.venv/bin/python -m pytest -m "slow and not soak" -n auto --dist loadfile'),
        (["test-soak"], ".venv/bin/python -m pytest -m soak"),
        (["test", "ARGS=-k blas"], ".venv/bin/python -m pytest -n auto --dist loadfile -k blas"),
        (["lint"], ".venv/bin/python -m mypy mlx_cosyvoice mlx_parity reference converters parity tests"),
        (["demo"], ".venv/bin/python -m parity demo --out build/demo"),
        (["demo", "AUDIO=my voice.wav"], '--out build/demo --audio "my voice.wav"'),
        (["demo", "FAMILY=cosyvoice3"], '--out build/demo --family "cosyvoice3"'),
        (["demo", "CHECKPOINT=synthetic"], '--out build/demo --checkpoint "synthetic"'),
        (
            ["convert"],
            '.venv/bin/python -m converters "FunAudioLLM/CosyVoice2-0.5B" --out "build/CosyVoice2-0.5B-mlx"',
        ),
        (["convert", "CHECKPOINT=synthetic"], '-m converters "synthetic" --out "build/synthetic-mlx"'),
        (["convert", "CHECKPOINT=/a/my model/"], '"/a/my model/" --out "build/my model-mlx"'),
        (["convert", "CHECKPOINT=a", "OUT=b", "DTYPE=bfloat16"], '-m converters "a" --out "b" --dtype bfloat16'),
        (["parity"], '.venv/bin/python -m parity run --checkpoint "assets/nano" --model "build/demo/model"'),
        (["parity", "CHECKPOINT=synthetic"], 'run --checkpoint "build/demo/checkpoint" --model "build/demo/model"'),
        (["parity", "CHECKPOINT=my/synthetic"], '--checkpoint "my/synthetic"'),
        (["parity", "CHECKPOINT=a", "MODEL=b c"], '-m parity run --checkpoint "a" --model "b c"'),
    ],
)
def test_what_a_target_runs(checkout: Path, arguments: list[str], expected: str) -> None:
    commands = plan(checkout, *arguments)
    assert expected in commands
    assert "pip install" not in commands


@pytest.mark.parametrize(
    "target", ["setup", "demo", "convert", "parity", "test", "test-slow", "test-soak", "fuzz", "lint", "format"]
)
def test_every_target_makes_a_missing_environment(checkout: Path, target: str) -> None:
    shutil.rmtree(checkout / ".venv")
    commands = plan(checkout, target)
    assert "-m venv --clear .venv" in commands
    assert "pip install" in commands
    assert "-c constraints.txt" in commands


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_dependency_renews_the_environment(checkout: Path, name: str) -> None:
    age(checkout / name, -200)
    assert "pip install" in plan(checkout, "test")


def test_an_environment_without_its_interpreter_is_renewed(checkout: Path) -> None:
    (checkout / ".venv/bin/python").unlink()
    (checkout / ".venv/bin/python").symlink_to("/no/such/python3")
    assert "pip install" in plan(checkout, "test")


def test_help_is_the_default_and_lists_every_target(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    text = make(checkout).stdout
    for target in (
        "setup",
        "demo",
        "convert",
        "parity",
        "test",
        "test-slow",
        "test-soak",
        "fuzz",
        "lint",
        "format",
        "clean",
        "help",
    ):
        assert f"make {target} " in text
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (
            'case "$*" in *version_info*) exit 1;; --version) echo Python 3.8.1;; esac',
            "is Python 3.8.1, but 3.10 or newer",
        ),
        ('case "$*" in *ensurepip*) exit 1;; esac', "sudo apt install python3-venv"),
        (
            'case "$*" in *" venv "*) mkdir -p .venv/bin; cp "$0" .venv/bin/python;; *"pip install"*) exit 1;; esac',
            "The installation failed",
        ),
    ],
    ids=["old", "no-venv", "pip-fails"],
)
def test_a_python_that_will_not_do_is_named(checkout: Path, body: str, complaint: str) -> None:
    shutil.rmtree(checkout / ".venv")
    result = make(checkout, "setup", f"PYTHON={fake_python(checkout, body)}")
    assert result.returncode != 0
    assert complaint in result.stdout
    assert not (checkout / ".venv/.complete").exists()


def test_a_missing_python_is_named(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    result = make(checkout, "setup", "PYTHON=/no/such/python3")
    assert result.returncode != 0
    assert "/no/such/python3 is not installed" in result.stdout


def test_clean_leaves_the_environment_and_distclean_does_not(checkout: Path) -> None:
    (checkout / "build").mkdir()
    for package in ("mlx_cosyvoice", "mlx_parity", "reference", "converters", "parity", "tests", "examples"):
        (checkout / package / "__pycache__").mkdir(parents=True)
    assert make(checkout, "clean").returncode == 0
    assert not (checkout / "build").exists()
    assert not list(checkout.rglob("__pycache__"))
    assert (checkout / ".venv").exists()
    assert make(checkout, "distclean").returncode == 0
    assert not (checkout / ".venv").exists()


def test_ci_runs_lint_the_tests_the_demo_and_the_slow_tests() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert "set -euo pipefail" in text
    assert [line for line in text.splitlines() if line.startswith("section ")] == [
        "section setup",
        "section lint",
        "section test",
        "section demo",
        "section test-slow",
    ]
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
