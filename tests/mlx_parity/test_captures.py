"""What was captured gives the same as a live run, without PyTorch, and is refused where it is damaged or another's."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import mlx.nn as nn
import pytest

from mlx_parity import Pipeline, Port, RunReport
from mlx_parity.captures.values import CaptureError
from tests.mlx_parity.models import ids, port, reference
from tests.support.process import ROOT, run_python

EXAMPLE = ROOT / "examples" / "porting" / "mlp.py"


def everything(report: RunReport) -> Any:
    layers = [
        (layer.path, layer.verdict, str(layer.ratio))
        for part in report.parts
        for layer in (*part.layers, *part.outputs)
    ]
    return report.verdict, [(one.module, one.kind, one.evidence) for one in report.culprits], layers


@pytest.mark.parametrize(
    "options", [{}, {"activation": nn.gelu_approx}, {"eps": 1e-5}], ids=["right", "activation", "eps"]
)
def test_a_capture_says_what_a_live_run_says(options: dict[str, Any], tmp_path: Path) -> None:
    model = reference()
    pipeline = Pipeline([Port("net", model, port(model, **options))])
    live = pipeline.run({"inputs": ids()})
    pipeline.capture(tmp_path, {"inputs": ids()})
    again = Pipeline([Port("net", None, port(model, **options))]).compare(tmp_path)
    assert everything(again) == everything(live)


def test_without_a_manifest_there_is_no_capture(tmp_path: Path) -> None:
    model = reference()
    with pytest.raises(CaptureError, match="no whole capture"):
        Pipeline([Port("net", None, port(model))]).compare(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    model = reference()
    pipeline = Pipeline([Port("net", model, port(model))])
    pipeline.capture(tmp_path, {"inputs": ids()})
    (tmp_path / "net.safetensors").write_bytes(b"12345678" * 4)
    with pytest.raises(CaptureError, match=r"net\.json: cannot be read"):
        pipeline.compare(tmp_path)


def test_a_capture_in_another_precision_is_refused(tmp_path: Path) -> None:
    model = reference()
    Pipeline([Port("net", model, port(model))]).capture(tmp_path, {"inputs": ids()})
    with pytest.raises(CaptureError, match="of float32, the port works in bfloat16"):
        Pipeline([Port("net", None, port(model), dtype="bfloat16")]).compare(tmp_path)


def cli(*arguments: object, fault: str = "", without_torch: bool = False) -> subprocess.CompletedProcess[str]:
    block = "import sys; sys.modules['torch'] = None; " if without_torch else ""
    code = f"{block}from mlx_parity.__main__ import main; sys.exit(main())" if block else ""
    command = ["-c", code] if code else ["-m", "mlx_parity"]
    return run_python(*command, *map(str, arguments), FAULT=fault, COLUMNS="160")


@pytest.mark.parametrize("fault", ["", "activation"])
def test_the_command_line_without_pytorch(fault: str, tmp_path: Path) -> None:
    captured = cli("capture", EXAMPLE, "--out", tmp_path / "capture")
    assert captured.returncode == 0, captured.stderr
    result = cli(
        *("compare", EXAMPLE, "--capture", tmp_path / "capture", "--report", tmp_path / "report"),
        fault=fault,
        without_torch=True,
    )
    assert result.returncode == (1 if fault else 0), result.stdout + result.stderr
    assert ("0 passes a wrong value as the input of 0.conv" in result.stdout) == bool(fault)
    page = tmp_path / "report" / "report.html"
    text = page.read_text(encoding="utf-8")
    page.unlink()
    again = cli("report", tmp_path / "report", without_torch=True)
    assert again.returncode == (1 if fault else 0), again.stderr
    assert page.read_text(encoding="utf-8") == text
    assert not {"speech", "mel", "voice", "token"} & set(text.lower().split())


def test_a_file_that_lacks_something_is_named(tmp_path: Path) -> None:
    file = tmp_path / "half.py"
    file.write_text("def port(): ...\n")
    result = cli("run", file)
    assert result.returncode == 2
    assert f"error: {file}: has no function reference(), inputs()" in result.stderr
