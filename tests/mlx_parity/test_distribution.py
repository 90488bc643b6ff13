"""`mlx_parity` is a distribution of its own: whole, and with nothing of the rest of the project."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.process import ROOT

FOLDER = ROOT / "mlx_parity"
#: Import name -> distribution.
OWN = {"mlx_parity", "pytest"}  # pytest is there where its plugin is loaded


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built by the installed hatchling without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    code = f"import hatchling.build; print(hatchling.build.build_wheel({str(folder)!r}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return zipfile.ZipFile(folder / result.stdout.split()[-1])


def test_the_wheel_holds_every_module_and_the_template(wheel: zipfile.ZipFile) -> None:
    there = {str(path.relative_to(ROOT)) for path in FOLDER.rglob("*.py") if "__pycache__" not in path.parts}
    assert there | {"mlx_parity/report/template.html", "mlx_parity/py.typed"} <= set(wheel.namelist())


def test_what_it_imports_it_declares(wheel: zipfile.ZipFile) -> None:
    [name] = [name for name in wheel.namelist() if name.endswith("METADATA")]
    lines = Parser().parsestr(wheel.read(name).decode()).get_all("Requires-Dist") or []
    declared = {Requirement(line).name for line in lines}
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for module in (module.split(".")[0] for module in modules):
                assert module in declared | OWN or module in sys.stdlib_module_names, f"{path}: {module}"


def test_it_runs_from_the_wheel_alone(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = f"""
import sys
sys.path[:] = [{str(tmp_path)!r}, *(path for path in sys.path if {str(ROOT)!r} not in path or "site-packages" in path)]
sys.modules.update(dict.fromkeys(("mlx_cosyvoice", "reference", "converters", "parity")))
import mlx_parity
assert mlx_parity.__file__.startswith({str(tmp_path)!r}), mlx_parity.__file__
from mlx_parity.__main__ import main
sys.exit(main(["run", {str(ROOT / "examples" / "porting" / "mlp.py")!r}, "--layers", "none"]))
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "verdict: PASS" in result.stdout
