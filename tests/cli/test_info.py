"""The `mlx-cosyvoice` command and its `info`."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import pytest

import mlx_cosyvoice
from mlx_cosyvoice.cli import main
from mlx_cosyvoice.nn.backend import in_cpu_form
from mlx_cosyvoice.weights import CONFIG, INDEX, ModelFolderError
from tests.support.process import run_python

#: What a component that is stored in bfloat16 is computed in.
ON_THIS_DEVICE = "float32" if in_cpu_form() else "bfloat16"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder as far as `info` reads it: two components, in two files."""
    folder = tmp_path / "model"
    folder.mkdir()
    config = {
        "model_type": "cosyvoice2",
        "format_version": 1,
        "components": ["llm", "hift"],
        "dtypes": {"llm": "bfloat16", "hift": "float32"},
    }
    shards = {
        "first.safetensors": {"llm.a": mx.zeros((3, 5), dtype=mx.bfloat16)},
        "second.safetensors": {"hift.b": mx.zeros((7,)), "llm.c": mx.zeros((2,), dtype=mx.bfloat16)},
    }
    for name, weights in shards.items():
        mx.save_safetensors(str(folder / name), weights)
    index = {"weight_map": {key: name for name, weights in shards.items() for key in weights}}
    (folder / INDEX).write_text(json.dumps(index))
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["info", "--help"]])
def test_help_does_not_import_mlx(arguments: list[str]) -> None:
    code = f"""
import sys
from mlx_cosyvoice.cli import main
try:
    main({arguments})
except SystemExit as stop:
    assert stop.code == 0, stop.code
heavy = {{"mlx", "mlx.core", "numpy", "torch", "tokenizers", "huggingface_hub"}} & set(sys.modules)
assert not heavy, heavy
"""
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    assert "mlx-cosyvoice" in result.stdout


def test_the_module_is_the_command() -> None:
    result = run_python("-m", "mlx_cosyvoice", "--version")
    assert (result.returncode, result.stdout) == (0, f"mlx-cosyvoice {mlx_cosyvoice.__version__}\n")


def test_no_or_a_wrong_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["sing"], ["info", "--wrong"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        assert "usage: mlx-cosyvoice" in capsys.readouterr().err


def test_info_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["version"] == mlx_cosyvoice.__version__
    assert facts["mlx"] == version("mlx")
    assert facts["device"]["type"] in ("cpu", "gpu")
    assert facts["blas"]["name"] == mlx_cosyvoice._blas.BLAS.name
    assert "model" not in facts


def test_info_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for expected in (mlx_cosyvoice.__version__, version("mlx"), str(mlx_cosyvoice._blas.BLAS)):
        assert expected in text
    assert ("MLX_COSYVOICE_BLAS=none" in text) == (mlx_cosyvoice._blas.BLAS.library is not None)


@pytest.mark.parametrize("form", ["", "device"])
def test_info_says_that_a_cpu_computes_as_a_gpu_does(form: str) -> None:
    result = run_python("-m", "mlx_cosyvoice", "info", MLX_COSYVOICE_FORM=form)
    assert result.returncode == 0, result.stderr
    [line] = [line for line in result.stdout.splitlines() if line.startswith("device  ")]
    assert ("in the form of a GPU" in line) == (form == "device" and " cpu " in line)


def test_info_of_a_model(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json", "--model", str(model)]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == {
        "path": str(model),
        "family": "CosyVoice2",
        "format_version": 1,
        "components": {
            "llm": {
                "dtype": "bfloat16",
                "computed_in": ON_THIS_DEVICE,
                "quantization": None,
                "parameters": 17,
                "bytes": 34,
            },
            "hift": {
                "dtype": "float32",
                "computed_in": "float32",
                "quantization": None,
                "parameters": 7,
                "bytes": 28,
            },
        },
        "bytes": 62,
        "sample_rate": 24000,
        "float32_exceptions": [],
        "speakers": [],
    }
    assert main(["info", "--model", str(model)]) == 0
    text = capsys.readouterr().out
    assert ("bfloat16; computed in float32" in text) == in_cpu_form()
    assert "(CosyVoice2, format 1, 24000 Hz)" in text
    assert "hift  float32  " in text  # it goes without saying what that is computed in


def test_info_of_packed_and_excepted_layers(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Parameters are counted as they were before they were packed."""
    weights: dict[str, mx.array] = {}
    for name, bits, group_size in (("llm.a", 4, 64), ("llm.b", 8, 32)):
        packed = mx.quantize(mx.ones((10, 128), dtype=mx.bfloat16), group_size=group_size, bits=bits)
        weights |= {f"{name}.{part}": one for part, one in zip(("weight", "scales", "biases"), packed, strict=True)}
    mx.save_safetensors(str(model / "first.safetensors"), weights | {"llm.c": mx.zeros((5,))})
    config = json.loads((model / CONFIG).read_text())
    config["quantization"] = {"bits": 4, "group_size": 64, "llm.b": {"bits": 8, "group_size": 32}}
    config["layer_dtypes"] = {"hift.b": "float32"}
    (model / CONFIG).write_text(json.dumps(config))
    (model / INDEX).unlink()
    (model / "first.safetensors").rename(model / "model.safetensors")
    assert main(["info", "--json", "--model", str(model)]) == 0
    facts = json.loads(capsys.readouterr().out)["model"]
    assert facts["components"]["llm"] == {
        "dtype": "bfloat16",
        "computed_in": ON_THIS_DEVICE,
        "quantization": {
            "layers": 2,
            "kinds": [{"bits": 4, "group_size": 64}, {"bits": 8, "group_size": 32}],
        },
        "parameters": 2 * 1280 + 5,
        "bytes": 640 + 1280 + 2 * 2 * 10 * (2 + 4) + 20,
    }
    assert facts["float32_exceptions"] == ["hift.b"]
    assert main(["info", "--model", str(model)]) == 0
    text = capsys.readouterr().out
    assert "bfloat16, 2 layers of 4 bits in groups of 64, 8 bits in groups of 32; " in text
    assert f"computed in {ON_THIS_DEVICE}" in text
    assert "in float32     1 modules of the components above" in text


def test_info_of_a_converted_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLX_COSYVOICE_MODEL", str(tiny_model))
    monkeypatch.setenv("MLX_COSYVOICE_VOICES", str(tmp_path / "voices"))
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["model"]["speakers"].count("synthetic") == 1
    assert facts["model"]["sample_rate"] == 24000
    assert facts["voices"] == {"folder": str(tmp_path / "voices"), "count": 0}
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert any("synthetic" in line for line in text.splitlines() if line.startswith("speakers  "))
    assert f"voices         0 in {tmp_path / 'voices'}" in text


def test_info_of_a_newer_model(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((model / CONFIG).read_text())
    (model / CONFIG).write_text(json.dumps(config | {"format_version": 99}))
    assert main(["info", "--model", str(model)]) == 1
    assert "format_version 99 is newer than" in capsys.readouterr().err


def test_a_broken_model_folder_is_one_clear_line(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def complaint(folder: Path) -> str:
        assert main(["info", "--model", str(folder)]) == 1
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("mlx-cosyvoice: error: ")
        return output.err

    assert "no such folder" in complaint(model / "missing")
    weights = model / "second.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert weights.name in complaint(model)
    weights.unlink()
    assert weights.name in complaint(model)
    (model / CONFIG).write_text("[1")
    assert "config.json: not JSON" in complaint(model)
    (model / CONFIG).unlink()
    assert "config.json: no such file" in complaint(model)


def test_traceback_shows_where_an_error_arose(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError):
        main(["info", "--traceback", "--model", str(tmp_path)])


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = """
import os, sys
from mlx_cosyvoice.cli import main
read, write = os.pipe()
os.close(read)
sys.stdout = os.fdopen(write, "w")
sys.exit(main(["info"]))
"""
    result = run_python("-c", code)
    assert (result.returncode, result.stderr) == (0, "")
