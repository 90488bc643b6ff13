"""What a run reads of a model that nobody has used is let go; what was used, and perhaps changed, stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from mlx_parity.compare import Verdict
from mlx_parity.findings import StageReport
from parity.inputs import load_inputs, shortened
from parity.pair import Pair, load_pair
from parity.run import run

NAME = "speech_tokenizer"


@pytest.fixture(scope="module")
def inputs() -> dict[str, Any]:
    return shortened(load_inputs(), 1.0)


@pytest.fixture
def pair(tiny_checkpoint: Path, tiny_model: Path) -> Pair:
    return load_pair(tiny_checkpoint, tiny_model)


def examined(pair: Pair, inputs: dict[str, Any]) -> StageReport:
    (report,) = run(pair, inputs, stages=[NAME]).stages
    return report


def test_what_was_unread_is_unread_again(pair: Pair, inputs: dict[str, Any]) -> None:
    before, active = pair.unread(), mx.get_active_memory()
    first = examined(pair, inputs)
    assert first.verdict is Verdict.PASS
    assert pair.unread() == before
    weights: Any = tree_flatten(pair.model._networks[NAME].parameters())
    assert mx.get_active_memory() - active < 0.1 * sum(array.nbytes for _, array in weights)
    again = examined(pair, inputs)
    assert [layer.to_dict() for layer in again.layers] == [layer.to_dict() for layer in first.layers]


def test_a_changed_model_stays_as_it_is(pair: Pair, inputs: dict[str, Any]) -> None:
    assert pair.model.speech_tokenizer is not None
    convolution: Any = pair.model.speech_tokenizer.encoder.conv1
    convolution.weight = 1.01 * convolution.weight
    assert examined(pair, inputs).verdict is Verdict.DIVERGED
    assert NAME not in pair.unread()
    assert examined(pair, inputs).verdict is Verdict.DIVERGED
