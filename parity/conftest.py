"""`pytest parity/ [--checkpoint DIR --model DIR] [--audio WAV] [--streaming]`: one test a stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.convert import convert
from parity.inputs import load_inputs
from parity.pair import Pair, load_pair
from parity.run import RunReport, run
from parity.stages import Settings
from reference.synthetic import write_checkpoint


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parity")
    group.addoption("--checkpoint", type=Path, help="official checkpoint folder (default: a tiny synthetic one)")
    group.addoption("--model", type=Path, help="MLX model converted from it (default: converted for the test)")
    group.addoption("--audio", type=Path, help="a recording (default: the sample in the project)")


@pytest.fixture(scope="session")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Both models: those named on the command line, or a tiny synthetic checkpoint and its conversion."""
    checkpoint, model = request.config.getoption("--checkpoint"), request.config.getoption("--model")
    if bool(checkpoint) != bool(model):
        raise pytest.UsageError("--checkpoint and --model go together")
    if not checkpoint:
        folder = tmp_path_factory.mktemp("parity")
        checkpoint, model = folder / "checkpoint", folder / "model"
        write_checkpoint(checkpoint, size="tiny")
        convert(checkpoint, model)
    return load_pair(checkpoint, model)


@pytest.fixture(scope="session", params=[False, True], ids=["offline", "streaming"])
def report(request: pytest.FixtureRequest, pair: Pair) -> RunReport:
    """All stages compared once, offline and with the chunk masks of streaming."""
    inputs = load_inputs(request.config.getoption("--audio"))
    return run(pair, inputs, settings=Settings(streaming=request.param))
