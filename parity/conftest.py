"""`pytest parity/ [--checkpoint DIR --model DIR] [--audio WAV] [--fault NAME] [--official DIR]`: two tests a stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from parity.faults import choose
from parity.findings import RunReport
from parity.inputs import load_inputs
from parity.models import ensure_model
from parity.pair import Pair, load_pair
from parity.run import run
from parity.stages import Settings, compared_in
from parity.stages.base import Streaming


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parity")
    group.addoption("--checkpoint", type=Path, help="official checkpoint folder (default: a tiny synthetic one)")
    group.addoption("--model", type=Path, help="MLX model converted from it (default: converted for the test)")
    group.addoption("--audio", type=Path, help="a recording (default: the sample in the project)")
    group.addoption("--official", type=Path, help="a checkout of FunAudioLLM/CosyVoice to hold reference/ against")
    group.addoption("--fault", help="switch on a mistake of `python -m parity faults --list`: its stage must fail")


@pytest.fixture(scope="session")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both models: those named on the command line, or a tiny synthetic checkpoint and its conversion."""
    checkpoint, model = request.config.getoption("--checkpoint"), request.config.getoption("--model")
    if bool(checkpoint) != bool(model):
        raise pytest.UsageError("--checkpoint and --model go together")
    if not checkpoint:
        checkpoint, model = ensure_model("tiny", tmp_path_factory.mktemp("parity"))
    loaded = load_pair(checkpoint, model)
    name = request.config.getoption("--fault")
    faults = choose([name], loaded.model.family.model_type) if name else []
    with faults[0].switch(loaded) if faults else nullcontext():
        yield loaded


@pytest.fixture(scope="session")
def inputs(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load_inputs(request.config.getoption("--audio"))


@pytest.fixture(scope="session")
def report(pair: Pair, inputs: dict[str, Any]) -> Callable[[Streaming | None], RunReport]:
    """All stages compared, once offline and, where that makes a difference, once for each kind of streaming."""

    def compared(streaming: Streaming | None) -> RunReport:
        chosen = [stage.name for stage in compared_in(streaming)]
        return run(pair, inputs, stages=chosen, settings=Settings(streaming=streaming))

    return cache(compared)
