"""The switch between the two forms: what sets it, whom it reaches, what runs in either."""

from __future__ import annotations

import ast
import inspect
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import mlx.core as mx
import numpy as np
import pytest

from mlx_cosyvoice import CosyVoice2
from mlx_cosyvoice.nn import backend
from mlx_cosyvoice.nn.backend import device_form, in_cpu_form
from mlx_cosyvoice.nn.cpu import attention, convolution, elementwise, vector
from tests.support.process import ROOT, run_python
from tests.support.voices import make_voice

SAMPLE = ROOT / "parity" / "data" / "sample.wav"
PACKAGE = ROOT / "mlx_cosyvoice"
CODE = """
import threading
from mlx_cosyvoice.nn.backend import in_cpu_form
forms = [in_cpu_form()]
thread = threading.Thread(target=lambda: forms.append(in_cpu_form()))
thread.start(), thread.join()
print(forms)
"""

on_the_cpu = pytest.mark.skipif(mx.default_device().type != mx.cpu, reason="elsewhere there is one form only")


@on_the_cpu
@pytest.mark.parametrize(("form", "cpu"), [("", True), ("device", False)])
def test_the_environment_chooses_for_every_thread(form: str, cpu: bool) -> None:
    result = run_python("-W", "error", "-c", CODE, MLX_COSYVOICE_FORM=form)
    assert (result.stdout.strip(), result.stderr) == (str([cpu] * 2), "")


def test_a_form_that_does_not_exist_is_a_warning() -> None:
    result = run_python("-c", CODE, MLX_COSYVOICE_FORM="gpu")
    assert result.returncode == 0
    assert "RuntimeWarning: MLX_COSYVOICE_FORM=gpu" in result.stderr


@on_the_cpu
def test_the_context_is_one_threads_and_ends() -> None:
    assert in_cpu_form()
    with device_form():
        with pytest.raises(RuntimeError), device_form():
            raise RuntimeError
        assert not in_cpu_form()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(in_cpu_form).result()
    assert in_cpu_form()


@on_the_cpu
@pytest.mark.parametrize("cpu", [False, True])
def test_the_form_of_a_device_runs_nothing_of_the_cpus(
    cpu: bool, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every network: cloning needs both encoders, speaking the others."""
    kernels = {
        name: mock.Mock(wraps=function)
        for module in (attention, convolution, elementwise, vector)
        for name, function in vars(module).items()
        if inspect.isfunction(function) and function.__module__ == module.__name__
    }
    for module in (attention, convolution, elementwise, vector):
        for name in vars(module).keys() & kernels.keys():
            monkeypatch.setattr(module, name, kernels[name])
    monkeypatch.setattr(backend, "DEVICE_FORM", not cpu)
    tts = CosyVoice2.load(tiny_model)
    prompt = tts.clone(SAMPLE).prompt_feat
    for decoding in ("offline", "incremental"):
        chunks = list(
            tts.stream("Hello there.", make_voice(), decoding=decoding, n_timesteps=1, max_token_text_ratio=4)
        )
        assert np.isfinite(np.concatenate(chunks)).all()
    assert np.isfinite(np.array(prompt)).all()
    called = {name for name, kernel in kernels.items() if kernel.called}
    usual = {"apply", "attention", "shifted_products", "shifted_scalings", "overlapped_products", "gathered_products"}
    assert called >= usual if cpu else not called, called


@on_the_cpu
@pytest.mark.slow
def test_goldens_hold_in_the_form_of_a_device() -> None:
    parts = ("conformance", "flow/test_incremental.py", "llm/test_llm.py", "decoding/test_decoders.py")
    files = [str(ROOT / "tests" / part) for part in parts]
    result = run_python("-m", "pytest", "-q", *files, timeout=1800, MLX_COSYVOICE_FORM="device")
    assert result.returncode == 0, result.stdout


@on_the_cpu
@pytest.mark.slow
def test_parity_holds_in_the_form_of_a_device(tiny_checkpoint: Path, tiny_model: Path) -> None:
    folders = ("--checkpoint", str(tiny_checkpoint), "--model", str(tiny_model))
    result = run_python("-m", "parity", "run", *folders, timeout=1800, MLX_COSYVOICE_FORM="device")
    assert result.returncode == 0, result.stdout


def names_of(path: Path) -> set[str]:
    """Modules that a file imports, and dotted names that it uses."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
    return found


def test_one_file_imports_the_cpus_form_and_one_asks_for_the_device() -> None:
    importing, asking = set(), set()
    for path in PACKAGE.rglob("*.py"):
        names = names_of(path)
        if any(name.startswith("mlx_cosyvoice.nn.cpu") for name in names) and path.parent != PACKAGE / "nn" / "cpu":
            importing.add(str(path.relative_to(PACKAGE)))
        if names & {"mx.default_device", "mx.metal", "mx.cuda", "mx.is_available", "mx.gpu", "mx.device_info"}:
            asking.add(str(path.relative_to(PACKAGE)))
    assert importing == {"nn/functional.py"}
    assert asking == {"nn/backend.py"}
