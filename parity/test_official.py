"""The reference computes what the official code computes, where `--official DIR` names a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlx_parity.compare import Verdict
from mlx_parity.report.culprits import headline
from parity.inputs import shortened
from parity.official import compare
from reference.official.checkout import Checkout
from reference.official.networks import Official
from reference.synthetic.checkpoint import SYNTHETICS, write_checkpoint


@pytest.fixture(scope="session")
def checkout(request: pytest.FixtureRequest) -> Checkout:
    folder = request.config.getoption("--official")
    if folder is None:
        pytest.skip("--official DIR names no checkout of FunAudioLLM/CosyVoice: reference/ was not held against it")
    return Checkout(folder)


@pytest.fixture(scope="session")
def short(inputs: dict[str, Any]) -> dict[str, Any]:
    return shortened(inputs, 2)


@pytest.fixture(scope="session", params=SYNTHETICS)
def checkpoint(request: pytest.FixtureRequest, checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("official") / "tiny", synthetic=SYNTHETICS[request.param])


def test_every_stage_agrees(checkout: Checkout, checkpoint: Path, short: dict[str, Any]) -> None:
    report = compare(checkout, checkpoint, short)
    assert report.verdict is Verdict.PASS, [headline(culprit) for culprit in report.culprits]
    assert len(report.stages) == 15


def test_a_mistake_in_it_is_found(
    checkout: Checkout, checkpoint: Path, short: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(self: Official, name: str) -> Any:
        network: Any = right(self, name)
        if name == "flow":
            network.decoder.estimator.static_chunk_size //= 2
        return network

    right = Official._network
    monkeypatch.setattr(Official, "_network", wrong)
    report = compare(checkout, checkpoint, short, ["flow_decoder", "flow_decoder_streaming"])
    assert [stage.verdict for stage in report.stages] == [Verdict.PASS, Verdict.DIVERGED]
    assert all(culprit.module.startswith("decoder.estimator") for culprit in report.culprits)
