"""The script that holds the zoo's ports against their originals names who is to blame."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import ROOT

pytest.importorskip("mlx_lm", reason="the zoo needs mlx-lm and transformers: pip install '.[zoo]'")
pytest.importorskip("transformers", reason="the zoo needs mlx-lm and transformers: pip install '.[zoo]'")

pytestmark = pytest.mark.slow


def run(tmp_path: Path, *names: str) -> tuple[int, str, dict[str, Any]]:
    file = tmp_path / "zoo.json"
    script = ROOT / "examples" / "porting" / "mlx_lm_zoo.py"
    result = subprocess.run(
        [sys.executable, str(script), *names, "--json", str(file)], cwd=tmp_path, capture_output=True, text=True
    )
    return result.returncode, result.stdout + result.stderr, json.loads(file.read_text()) if file.exists() else {}


def test_one_agrees_and_one_does_not(tmp_path: Path) -> None:
    code, printed, found = run(tmp_path, "llama", "gemma", "kimi_vl")
    assert code == 1, printed
    assert list(found) == ["llama", "gemma"]
    assert found["llama"]["verdict"] == "pass"
    assert found["llama"]["floors"] < 4
    assert found["gemma"]["verdict"] == "diverged"
    assert found["gemma"]["culprits"][0]["place"] == "model.layers.0.mlp.down_proj"
    assert "runs the model of deepseek_v3" in printed


def test_modules_that_only_look_alike_are_no_culprits(tmp_path: Path) -> None:
    """Norms with a 1 in their weights, routers in parts, caches that layers share, experts in one array."""
    code, printed, found = run(tmp_path, "qwen3_next", "granitemoe", "gemma4_text", "dots1")
    assert code == 0, printed
    assert max(one["floors"] for one in found.values()) < 4


def test_a_name_that_is_unknown_is_refused(tmp_path: Path) -> None:
    code, printed, _ = run(tmp_path, "llamma")
    assert code == 2
    assert "no such architecture: llamma" in printed
