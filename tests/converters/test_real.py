"""The converter on files that others exported, with trained weights; and on a checkpoint of the published size."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from converters.convert import convert
from mlx_cosyvoice.config import CosyVoice2Config
from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.weights import load_component, load_weights, read_config
from reference.synthetic.checkpoint import write_checkpoint
from tests.support.checkpoints import damaged_copy
from tests.support.embeddings import cosine
from tests.support.golden import official_shapes
from tests.support.official_config import read_model_config
from tests.support.process import ROOT
from tests.support.weights import real_weights


def converted(component: str, checkpoint: Path, tmp_path: Path, file: str, weights: Path) -> nn.Module:
    """The component of a tiny checkpoint whose `file` was replaced, converted and loaded."""
    folder = damaged_copy(checkpoint, tmp_path / "checkpoint", file, lambda path: shutil.copy(weights, path))
    out = convert(folder, tmp_path / "out", components=[component]).out
    return load_component(COSYVOICE2[component].build(read_config(out)[0]), out, component)


def test_a_trained_speaker_encoder(tiny_checkpoint: Path, tmp_path: Path) -> None:
    weights, speech = real_weights("campplus.onnx"), dict(np.load(real_weights("campplus_golden.npz")))
    model = converted("campplus", tiny_checkpoint, tmp_path, "campplus.onnx", weights)
    clips = [name for name in speech if not name.startswith("torch_")]
    assert len(clips) > 3
    for clip in clips:
        fbank = speech[clip].reshape(1, -1, 80)
        assert cosine(model(mx.array(fbank)), speech[f"torch_{clip}"]) >= 0.99999, clip


def test_a_speech_tokenizer_of_the_official_layout(tiny_checkpoint: Path, tmp_path: Path) -> None:
    weights = real_weights("tiny_speech_tokenizer_v2_official_ids.onnx")
    speech = dict(np.load(real_weights("tiny_s3_golden.npz")))
    model = converted("speech_tokenizer", tiny_checkpoint, tmp_path, "speech_tokenizer_v2.onnx", weights)
    clips = [name for name in speech if not name.startswith("tok_")]
    assert clips
    for clip in clips:
        log_mel = speech[clip].reshape(1, 128, -1).transpose(0, 2, 1)
        np.testing.assert_array_equal(np.array(model(mx.array(log_mel))), speech[f"tok_{clip}"], err_msg=clip)


@pytest.fixture(scope="module")
def full_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = write_checkpoint(tmp_path_factory.mktemp("full") / "checkpoint", size="full")
    yield folder
    shutil.rmtree(folder)


#: Runs the command line, then prints the most memory it had, in kB.
MEASURED = """
import resource, sys
from converters.__main__ import main
status = main(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
if sys.platform == "linux":  # there the figure above includes the process that started this one
    with open("/proc/self/status") as file:
        peak = 1024 * int(next(line for line in file if line.startswith("VmHWM")).split()[1])
print("peak", peak)
sys.exit(status)
"""


@pytest.mark.slow
def test_the_published_size(full_checkpoint: Path, tmp_path: Path) -> None:
    """Within 3 GB, every official key accounted for, and it loads."""
    assert read_model_config(full_checkpoint) == CosyVoice2Config()
    out = tmp_path / "out"
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, str(full_checkpoint), "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    peak = int(result.stdout.split("peak ")[1])
    assert peak < 3e9
    keys = json.loads((out / "conversion.json").read_text())["keys"]
    for component in COSYVOICE2.names:
        name = component if component == "campplus" else f"{component}.full"
        assert {*keys[component]["used"], *keys[component]["unused"]} == set(official_shapes(name)), component
        load_component(COSYVOICE2[component].build(CosyVoice2Config()), out, component)
    shutil.rmtree(out)


@pytest.mark.slow
def test_the_published_size_in_half_precision(full_checkpoint: Path, tmp_path: Path) -> None:
    report = convert(full_checkpoint, tmp_path / "out", dtype="bfloat16", components=["llm"])
    assert report.nbytes == pytest.approx(1.01e9, rel=0.02)
    weights = load_weights(tmp_path / "out")
    assert all(value.dtype == mx.bfloat16 for value in weights.values())
    shutil.rmtree(tmp_path / "out")
