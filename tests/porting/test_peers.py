"""Public ports of whole models beside their originals: what differs is named, and without it they agree."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

from mlx_parity import Pipeline, Verdict
from mlx_parity.findings import RunReport
from mlx_parity.port_file import PortFile, load_port_file

PORTING = Path(__file__).parents[2] / "examples" / "porting"


def needs(*packages: str, install: str) -> None:
    """Skip the test where a package is missing."""
    for package in packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed: {install}")


def named(report: RunReport) -> list[tuple[str, str, str, str]]:
    return [(culprit.stage, culprit.module, culprit.kind, culprit.place) for culprit in report.culprits]


def run(file: PortFile, *names: str) -> RunReport:
    """The report on some stages of a port file."""
    return Pipeline([stage for stage in file.pipeline.stages if stage.name in names]).run(file.inputs)


@pytest.fixture
def whisper() -> PortFile:
    needs("transformers", "mlx-whisper", install="pip install '.[zoo]'; pip install --no-deps mlx-whisper==0.4.3")
    return load_port_file(PORTING / "whisper.py")


def networks(file: PortFile) -> Any:
    """The encoder and the decoder of mlx-whisper."""
    return [stage._port for stage in file.pipeline.stages]


def test_whisper_computes_positions_that_are_stored(whisper: PortFile) -> None:
    report = whisper.pipeline.run(whisper.inputs)
    assert named(report) == [("encoder", "encoder", "glue", "layers.0")]
    encoder, decoder = report.stages
    assert decoder.verdict is Verdict.PASS
    assert {layer.path: layer.verdict for layer in encoder.layers}["conv2"] is Verdict.PASS
    assert [line.partition(":")[0] for line in encoder.unpaired] == [
        "embed_positions",
        "layers.0.activation_fn",
        "layers.1.activation_fn",
    ]


def test_whisper_agrees_with_the_positions_that_are_stored(whisper: PortFile) -> None:
    encoder = whisper.pipeline.stages[0]
    stored = encoder._reference.embed_positions.weight.numpy()
    networks(whisper)[0]._positional_embedding = mx.array(stored)
    report = run(whisper, "encoder")
    assert (report.verdict, named(report)) == (Verdict.PASS, [])


def test_a_fault_in_whispers_decoder_is_named_and_not_called_the_caches(
    whisper: PortFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks(whisper)
    monkeypatch.setattr(nn, "gelu", nn.gelu_approx)
    report = whisper.pipeline.run(whisper.inputs)
    found = named(report)
    assert [("decoder", f"layers.{at}", "glue", f"layers.{at}.fc2") for at in (0, 1)] == found[-2:]
    assert ("encoder", "encoder", "glue", "conv2") in found
    assert not report.stages[1].remarks


@pytest.fixture
def peer(tiny_checkpoint: Path, tiny_checkpoint3: Path, monkeypatch: pytest.MonkeyPatch) -> PortFile:
    needs("mlx-lm", "mlx-audio-plus", install="pip install '.[zoo]'; pip install --no-deps mlx-audio-plus==0.1.8")
    monkeypatch.setenv("CHECKPOINT", str(tiny_checkpoint))
    monkeypatch.setenv("CHECKPOINT3", str(tiny_checkpoint3))
    return load_port_file(PORTING / "cosyvoice_peer.py")


def test_the_peers_flow_draws_noise_and_does_not_look_ahead(peer: PortFile) -> None:
    report = run(peer, "flow", "flow_hop")
    assert [(stage, module, kind) for stage, module, kind, _ in named(report)] == [
        ("flow", "decoder", "glue"),
        ("flow_hop", "flow_hop", "glue"),
        ("flow_hop", "decoder", "glue"),
    ]
    whole, hop, decoder = report.culprits
    for drawn in (whole, decoder):
        assert any("decoder.estimator was called with a wrong value" in line for line in drawn.evidence)
    assert hop.place == "encoder_proj"
    (listed,) = [line for line in report.stages[1].unpaired if line.startswith("encoder:")]
    assert listed == "encoder: called with an array of shape [1, 40, 512], its namesake [1, 37, 512]"


def test_the_peers_speaker_encoder_and_vocoder(peer: PortFile) -> None:
    report = run(peer, "campplus", "hift")
    assert report.stages[0].name == "hift"
    found = named(report)
    assert ("hift", "m_source.l_sin_gen", "leaf", "m_source.l_sin_gen") in found
    assert ("campplus", "campplus", "glue", "xvector.dense") in found
    gates = [place for stage, _, _, place in found if stage == "campplus" and place.endswith("cam_layer.linear1")]
    assert len(gates) == len(found) - 2 == 52


def test_the_peers_language_model_and_flow_of_cosyvoice3_agree(peer: PortFile) -> None:
    report = run(peer, "llm", "flow3_with_noise", "flow3_hop_with_noise")
    assert (report.verdict, named(report)) == (Verdict.PASS, [])
    assert named(run(peer, "flow3")) == [("flow3", "decoder", "glue", "decoder")]
