"""What is shipped and what it needs: the wheel's content, its dependencies, and who may import whom."""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mlx_cosyvoice
from tests.support.process import ROOT, run_python

FOLDERS = ("mlx_cosyvoice", "mlx_parity", "reference", "converters", "parity", "tests", "examples")

#: Folder -> the other folders that it may import.
MAY_IMPORT = {
    "mlx_cosyvoice": set(),
    "reference": set(),
    "converters": {"mlx_cosyvoice", "reference"},
    "mlx_parity": set(),
    "parity": {"mlx_cosyvoice", "mlx_parity", "reference", "converters", "tests"},
}

#: Folder -> the extras that it may rely on.
EXTRAS = {
    "mlx_cosyvoice": {"play"},
    "reference": {"convert", "parity", "nano"},
    "converters": {"convert"},
    "mlx_parity": {"parity", "dev"},  # its fixture is pytest's
    "parity": {"convert", "parity", "dev"},
    "examples": {"convert", "zoo"},
    "tests": {"convert", "parity", "zoo", "dev"},
}

#: Import name -> distribution, where they differ.
DISTRIBUTIONS = {"yaml": "pyyaml", "PIL": "pillow", "google": "protobuf"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built by the installed hatchling without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    result = run_python("-c", f"import hatchling.build; print(hatchling.build.build_wheel({str(folder)!r}))")
    assert result.returncode == 0, result.stderr
    return zipfile.ZipFile(folder / result.stdout.split()[-1])


@pytest.fixture(scope="session")
def metadata(wheel: zipfile.ZipFile) -> Message:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())


@pytest.fixture(scope="session")
def requirements(metadata: Message) -> list[Requirement]:
    return [Requirement(text) for text in metadata.get_all("Requires-Dist") or []]


def needed(
    requirements: list[Requirement], extras: set[str], platform: str = sys.platform, python: str = "3.11"
) -> set[str]:
    """Names of the distributions that an installation with `extras` brings by name, on `platform` and with `python`."""
    environments = [{"extra": extra, "sys_platform": platform, "python_version": python} for extra in {"", *extras}]
    return {
        str(canonicalize_name(requirement.name))
        for requirement in requirements
        if requirement.marker is None or any(requirement.marker.evaluate(env) for env in environments)
    }


def test_the_wheel_holds_the_package_alone(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names} == {
        "mlx_cosyvoice",
        f"mlx_cosyvoice-{mlx_cosyvoice.__version__}.dist-info",
    }
    assert "mlx_cosyvoice/py.typed" in names
    assert any(name.endswith("/LICENSE") for name in names)
    files = {
        str(path.relative_to(ROOT)) for end in ("py", "txt") for path in (ROOT / "mlx_cosyvoice").rglob(f"*.{end}")
    }
    assert files <= set(names)
    [entry_points] = [name for name in names if name.endswith("entry_points.txt")]
    assert "mlx-cosyvoice = mlx_cosyvoice.cli:main" in wheel.read(entry_points).decode()


def test_the_metadata(metadata: Message) -> None:
    assert metadata["Name"] == "mlx-cosyvoice"
    assert metadata["Version"] == mlx_cosyvoice.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra") or []) == {"play", "convert", "parity", "zoo", "nano", "dev"}


def test_a_user_gets_mlx_for_the_system_and_never_torch(requirements: list[Requirement]) -> None:
    for platform in ("linux", "darwin"):
        assert "mlx" in needed(requirements, set(), platform)
        assert not {"torch", "onnx", "onnxruntime"} & needed(requirements, set(), platform)
    linux = [r for r in requirements if r.name == "mlx" and r.marker and r.marker.evaluate({"sys_platform": "linux"})]
    assert [requirement.extras for requirement in linux] == [{"cpu"}]
    assert "ngsolve-openblas" not in needed(requirements, set(), "darwin")


def test_every_dependency_has_one_exact_version_in_constraints(requirements: list[Requirement]) -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = [Requirement(line) for line in lines]
    for pin in pins:
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), f"{pin} is not one exact version"
    for platform in ("linux", "darwin"):
        for python in ("3.10", "3.11", "3.12", "3.13"):
            environment = {"sys_platform": platform, "python_version": python}
            active = [
                str(canonicalize_name(p.name)) for p in pins if p.marker is None or p.marker.evaluate(environment)
            ]
            assert len(active) == len(set(active)), f"two versions of one package for {environment}"
            named = needed(requirements, {"play", "convert", "parity", "zoo", "nano", "dev"}, platform, python)
            missing = named - set(active) - {"mlx-cosyvoice"}
            assert not missing, f"constraints.txt lacks {missing} for {environment}"


def imports(folder: str) -> dict[str, set[str]]:
    """Top-level name imported anywhere in the folder -> the files that import it.

    `make_*.py` are left out: they make test data with the official projects, which nothing here installs.
    """
    found: dict[str, set[str]] = {}
    for path in (ROOT / folder).rglob("*.py"):
        if path.name.startswith("make_"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                found.setdefault(name.split(".")[0], set()).add(str(path.relative_to(ROOT)))
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_are_declared(folder: str, requirements: list[Requirement]) -> None:
    declared = needed(requirements, EXTRAS[folder], "linux") | {"packaging"}  # pytest brings packaging
    for name, files in imports(folder).items():
        beside = [(ROOT / file).parent / name for file in files]  # examples run as scripts import their neighbours
        if all(path.is_dir() or path.with_suffix(".py").is_file() for path in beside):
            continue
        if name not in sys.stdlib_module_names and name not in FOLDERS:
            distribution = str(canonicalize_name(DISTRIBUTIONS.get(name, name)))
            assert distribution in declared, f"{name} is imported by {sorted(files)} and not declared in pyproject.toml"


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_who_imports_whom(folder: str) -> None:
    for name, files in imports(folder).items():
        allowed = name == folder or name in MAY_IMPORT[folder] or name not in FOLDERS
        assert allowed, f"{folder} must not import {name}, but {sorted(files)} does"


def test_nothing_that_a_user_imports_brings_torch() -> None:
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "mlx_cosyvoice").rglob("*.py")
        if path.name != "__main__.py"
    )
    code = f"""
import importlib, sys
for module in {modules}:
    importlib.import_module(module)
    brought = {{"torch", "onnx", "onnxruntime", "transformers", "reference", "converters", "parity"}} & set(sys.modules)
    assert not brought, f"{{module}} brings {{brought}}"
"""
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr


def test_the_public_names_are_lazy() -> None:
    code = """
import sys, mlx_cosyvoice
assert "mlx.core" not in sys.modules
assert {"CosyVoice2", "Voice"} <= set(dir(mlx_cosyvoice))
"""
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    with pytest.raises(AttributeError, match="no attribute 'CosyVoice9'"):
        mlx_cosyvoice.CosyVoice9  # noqa: B018


@pytest.mark.parametrize("name", ["CosyVoice2", "Voice"])
def test_the_public_names_exist(name: str) -> None:
    assert getattr(mlx_cosyvoice, name).__name__ == name
    assert getattr(mlx_cosyvoice, name) is getattr(mlx_cosyvoice, name)


def test_the_license_is_apache_2() -> None:
    text = Path(ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
