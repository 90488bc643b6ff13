"""The harness names every mistake of the catalogue. The tests have a quick choice of them; `-m slow` tries the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from mlx_cosyvoice.audio import MAX_PROMPT_SECONDS
from parity.faults import FAULTS, Fault
from parity.faults.trial import Bench
from parity.inputs import shortened
from parity.models import ensure_model
from parity.pair import Pair, load_pair
from parity.stages import Settings

#: By family, those that are tried in every run: one of every kind.
QUICK = {
    "cosyvoice2": (
        *("text-gpt2-words", "resampler-roll-off", "fsq-base-order", "kv-head-order", "sampler-exchange"),
        *("pos-bias-swapped", "decoder-mask", "snake-square", "stream-window"),
    ),
    "cosyvoice3": (
        *("silence-counted-on", "six-scale-first", "f0-in-float32", "noise-anew-in-every-piece", "dit-positions-anew"),
    ),
}

#: At most how many seconds of the recording, and what is asked of a run; CosyVoice3's own mistakes show in less.
ASKED = {
    "cosyvoice2": (MAX_PROMPT_SECONDS, None),
    "cosyvoice3": (1.2, Settings(llm_steps=4, sampler_rows=64)),
}


@pytest.fixture(scope="module")
def bench_of(
    request: pytest.FixtureRequest, pair: Pair, inputs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Bench]:
    """The captured reference of a family, for those faults that this session tries.

    It is of the model that is looked at and, of other families, of tiny ones.
    """
    if request.config.getoption("--fault"):
        pytest.skip("these tests switch faults on by themselves, in a healthy model")
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    chosen = [(param["family"], param["fault"]) for param in params if {"family", "fault"} <= param.keys()]

    @cache
    def of(family: str) -> Bench:
        faults = [fault for fault in FAULTS[family] if (family, fault) in chosen]
        seconds, settings = ASKED[family]
        own = family == pair.model.family.model_type
        tiny = None if own else ensure_model("tiny", tmp_path_factory.mktemp(family), family=family)
        return Bench(load_pair(*tiny) if tiny else pair, shortened(inputs, seconds), faults, settings=settings)

    return of


def _tried(family: str, fault: Fault) -> Any:
    marks = () if fault.name in QUICK[family] else (pytest.mark.slow,)
    return pytest.param(family, fault, id=f"{family}-{fault.name}", marks=marks)


@pytest.mark.parametrize(
    ("family", "fault"), [_tried(family, fault) for family, faults in FAULTS.items() for fault in faults]
)
def test_fault_is_named(bench_of: Callable[[str], Bench], family: str, fault: Fault) -> None:
    trial = bench_of(family).try_fault(fault)
    assert trial.exact, f"{fault.mistake}\n  {trial.reason}"
